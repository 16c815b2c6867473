#!/usr/bin/env python3
"""The status page in a real Chromium, from a small phone to a desktop, light and dark: signing in, an empty pool, one under
load, one whose project needs a click, and no token-service. Its numbers are those of the load, its buttons do what they
say, with and without scripts; it asks nobody else for anything, complains of nothing, fits, and can be read. Pages of
others can neither frame it nor press its buttons.

  status_page.py [--screenshots FOLDER]     needs chromium and chromedriver
"""
import argparse, base64, collections, contextlib, http.server, json, os, re, subprocess, tempfile, threading, time
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait
from stack import BIN, TOKENS, Stack, check, clean_env, control, failed, free_port, post

FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server', '--hide-scrollbars')
SIZES = {'desktop': (1280, 900, 1, False), 'small-desktop': (1024, 768, 1, False), 'tablet': (768, 1024, 1, True), 'phone': (390, 844, 2, True), 'small-phone': (360, 740, 2, True)}
SCHEMES = ('light', 'dark')
MODEL = 'gemini-2.5-flash'
# The least contrast of each text with what is behind it, as WCAG 2.2 (AA) wants it: 4.5, or 3 where it is large.
CONTRAST = r'''
const rgba = (text) => { const n = text.match(/[\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; } return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18, 1] : [255, 255, 255, 1]; };
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.getClientRects().length || e.closest('svg, .unseen')) continue;
  const style = getComputedStyle(e), size = parseFloat(style.fontSize);
  const [a, b] = [light(rgba(style.color)), light(behind(e))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className}: ${walker.currentNode.data.trim().slice(0, 40)}`);
}
const told = (ratio, least, e, what) => { if (ratio < least) poor.push(`${ratio.toFixed(2)} ${what} of ${e.tagName}.${e.getAttribute('class')} ${e.id}`); };
const between = (a, b) => { const [x, y] = [light(rgba(a)), light(b)]; return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05); };
const seen = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.getClientRects().length && !e.closest('.unseen'));
// What is drawn, and where a field or a button ends, need 3 (1.4.11); what stands in an empty field is a text.
for (const e of seen('.plot path:not(.grid, .edge), .quota rect:not(.track)')) {
  const style = getComputedStyle(e), back = rgba(getComputedStyle(e.closest('.card')).backgroundColor);
  told(between(style.fill === 'none' ? style.stroke : style.fill, back), 3, e, 'colour');
}
for (const e of seen('.legend i')) told(between(getComputedStyle(e).backgroundColor, behind(e.parentElement)), 3, e, 'colour');
for (const e of seen('button, input, .choices a, .pages a')) {
  const style = getComputedStyle(e), back = behind(e.parentElement);
  told(Math.max(between(style.borderTopColor, back), between(style.backgroundColor, back)), 3, e, 'border');
  if (e.placeholder) told(between(getComputedStyle(e, '::placeholder').color, behind(e)), 4.5, e, 'placeholder');
}
return poor;'''
# What does not fit its frame: sheets of figures may be moved sideways, those of projects and errors are not, and nothing is cut off.
OUTSIDE = r'''
const outside = [...document.querySelectorAll('#sheet-projects, #sheet-failures')].filter((e) => e.scrollWidth > e.clientWidth).map((e) => `${e.id}: ${e.scrollWidth} of ${e.clientWidth}`);
for (const e of document.querySelectorAll('.quota b, .do button, .go, .failures code, #models tbody tr > :nth-child(2)')) {
  const frame = e.closest('.card').getBoundingClientRect(), own = e.getBoundingClientRect();
  if (own.width && (own.right > frame.right || own.left < frame.left || e.scrollWidth > e.clientWidth + 1 && e.clientWidth)) outside.push(`${e.tagName} ${e.id || e.className}: ${own.right} of ${frame.right}`);
}
if (document.documentElement.scrollWidth > document.documentElement.clientWidth) outside.push(`all of it: ${document.documentElement.scrollWidth} of ${document.documentElement.clientWidth}`);
return outside;'''
# What whoever does not see the page, or has no mouse, cannot do without.
UNNAMED = r'''
const named = (e) => (e.getAttribute('aria-label') || e.textContent || (e.labels && e.labels[0]?.textContent) || '').trim() !== '';
const all = (selector) => [...document.querySelectorAll(selector)];
return [...all('button, a, input:not([type=hidden]), svg[role=img], nav, section:not([aria-labelledby])').filter((e) => !named(e)),
  ...all('th:not([scope])'), ...all('table').filter((t) => !t.querySelector('thead th')), ...all('[aria-labelledby]').filter((e) => !document.getElementById(e.getAttribute('aria-labelledby'))),
  ...all('[tabindex]:not([tabindex="0"])'), ...(document.documentElement.lang === 'en' ? [] : [document.documentElement])].map((e) => e.outerHTML.slice(0, 120));'''


@contextlib.contextmanager
def chromium(script=True):
    options = webdriver.ChromeOptions()
    options.binary_location = '/usr/bin/chromium'
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    if not script:
        options.add_experimental_option('prefs', {'profile.managed_default_content_settings.javascript': 2})
    with tempfile.TemporaryDirectory(prefix='agw-chromium-', ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f'--user-data-dir={profile}'):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService('/usr/bin/chromedriver'))
        try:
            driver.set_page_load_timeout(60)
            yield driver
        finally:
            driver.quit()


class World:
    """Both services and a Google that is fake, with a pool of so many projects."""

    def __init__(self, stack, projects):
        self.stack = stack
        port = free_port()
        self.google = f'http://127.0.0.1:{port}'
        stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '3']).wait_for(str(port))
        entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in range(1, projects + 1)]
        file = stack.tokens_file(entries, f'{self.google}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
        self.env = {'TOKENS_FILE': file, 'ANTIGRAVITY_BASE_URLS': self.google, 'TOKEN_SERVICE_LISTEN': f'127.0.0.1:{free_port()}'}
        self.tokens = stack.token_service(**self.env)
        admin = f'127.0.0.1:{free_port()}'
        self.gateway = stack.gateway(self.tokens.address, ANTIGRAVITY_BASE_URLS=self.google, ADMIN_LISTEN=admin)
        self.gateway.wait_for('the admin listener is open')
        self.page = f'http://{admin}/'
        self.told = collections.Counter()

    def ask(self, stream=False, body=None):
        body = body or {'model': MODEL, 'messages': [{'role': 'user', 'content': 'Tell me something.'}]}
        if stream:
            body = {**body, 'stream': True, 'stream_options': {'include_usage': True}}
        status, _, text = post(f'http://{self.gateway.address}/v1/chat/completions', body)
        self.told['requests'] += 1
        if status == 200:
            chunks = [json.loads(event[6:]) for event in text.decode().split('\n\n') if event.startswith('data: {')] if stream else [json.loads(text)]
            usage = next(chunk['usage'] for chunk in reversed(chunks) if chunk.get('usage'))
            self.told.update(answered=1, streams=stream, prompt=usage['prompt_tokens'], completion=usage['completion_tokens'])
        elif status < 500:
            self.told['refused'] += 1
        else:
            self.told['failed'] += 1
        return status

    def project(self, name):
        env = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{self.tokens.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN']}
        done = subprocess.run([os.path.join(BIN, 'antigravity-gateway'), 'projects', 'list', '--json'], env=env, cwd=self.stack.folder, capture_output=True, check=True, timeout=30)
        return next(project for project in json.loads(done.stdout)['projects'] if project['id'] == name)


class Browser:
    """A Chromium that is held to what every page has to keep."""

    def __init__(self, driver, world, folder):
        self.driver, self.world, self.folder = driver, world, folder

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.find(selector).get_attribute('textContent').strip()

    def wait(self, holds, what, seconds=30):
        with contextlib.suppress(Exception):
            WebDriverWait(self.driver, seconds, poll_frequency=0.2, ignored_exceptions=[Exception]).until(lambda _: holds())
            return check(True, what)
        check(False, f'{what}: {self.driver.find_element(By.TAG_NAME, "body").text[:600]}')

    def has(self, text):
        return text in self.driver.find_element(By.TAG_NAME, 'body').text

    def open(self, path=''):
        self.driver.get(self.world.page + path)

    def look(self, width=1280, height=900, scale=1, mobile=False, scheme='light'):
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': width, 'height': height, 'deviceScaleFactor': scale, 'mobile': mobile})
        self.driver.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]})

    def shots(self, name):
        """The page as it is, in each size and scheme: it fits, can be read, and is kept as a picture."""
        wide, poor = [], []
        for size, metrics in SIZES.items():
            for scheme in SCHEMES:
                self.look(*metrics, scheme=scheme)
                time.sleep(0.1)
                wide += [f'{size}: {text}' for text in self.driver.execute_script(OUTSIDE)]
                poor += [f'{scheme}: {text}' for text in self.driver.execute_script(CONTRAST)]
                picture = self.driver.execute_cdp_cmd('Page.captureScreenshot', {'captureBeyondViewport': True, 'fromSurface': True})
                with open(os.path.join(self.folder, f'{name}-{size}-{scheme}.png'), 'wb') as file:
                    file.write(base64.b64decode(picture['data']))
        self.look()
        check(not wide, f'{name}: fits from a small phone to a desktop {wide[:4]}')
        check(not poor, f'{name}: all of it can be read, light and dark {poor[:6]}')
        unnamed = self.driver.execute_script(UNNAMED)
        check(not unnamed, f'{name}: everything has a name {unnamed[:4]}')
        self.complaints(name)

    def complaints(self, name, expected=()):
        lines = [line['message'] for line in self.driver.get_log('browser') if line['level'] in ('SEVERE', 'WARNING')]
        lines = [line for line in lines if not any(part in line for part in expected)]
        check(not lines, f'{name}: no complaint of the browser {lines[:3]}')
        urls = []
        for entry in self.driver.get_log('performance'):
            message = json.loads(entry['message'])['message']
            if message['method'] == 'Network.requestWillBeSent':
                urls.append(message['params']['request']['url'])
        elsewhere = [url for url in urls if not url.startswith((self.world.page, 'data:', 'chrome:', 'about:'))]
        check(not elsewhere, f'{name}: nobody else is asked for anything {elsewhere[:3]}')

    def sign_in(self, token=TOKENS['ADMIN_TOKEN']):
        field = self.find('#token')
        field.clear()
        field.send_keys(token)
        self.find('button[type=submit]').click()

    def press(self, what, project):
        button = self.find(f'#{what}-{project}')
        button.click()
        # What the page before tells is not the answer.
        self.wait(lambda: staleness_of(button)(self.driver) and self.text('#notice').startswith(project), f'{what} is answered', 45)
        told = self.find('#notice')
        check('bad' not in told.get_attribute('class'), told.text)


def number(text):
    return int(re.match(r'[\d,]+', text)[0].replace(',', ''))


def empty(folder):
    with Stack() as stack, chromium() as driver:
        world = World(stack, 0)
        browser = Browser(driver, world, folder)
        browser.open()
        browser.shots('login')
        browser.sign_in('a wrong token')
        browser.wait(lambda: browser.has('This is not the operators'), 'a wrong token is told')
        browser.complaints('a wrong token', ('401',))
        browser.sign_in()
        browser.wait(lambda: browser.text('#verdict h2') == 'There is no project yet', 'the empty pool is told')
        check(driver.execute_script('return document.cookie') == '', 'no script sees the cookie')
        cookie = driver.get_cookies()[0]
        check(cookie['httpOnly'] and cookie['sameSite'] == 'Strict', f'the cookie is for us alone: {cookie["name"]}')
        browser.shots('empty')
        browser.find('header button[type=submit]').click()
        browser.wait(lambda: browser.find('#token').is_displayed(), 'one can sign out')


def load(world):
    """Whole answers and streams at once, a few that are refused, one that comes to nothing."""
    control(world.google, 'faults', {'times': 12, 'action': {'kind': 'delay', 'before_first_event_ms': 150, 'between_events_ms': 20}})
    streams = [threading.Thread(target=world.ask, args=(True,)) for _ in range(12)]
    for thread in streams:
        thread.start()
    for thread in streams:
        thread.join()
    for _ in range(30):
        world.ask()
    for _ in range(3):
        world.ask(body={'model': MODEL})
    control(world.google, 'faults', {'times': 6, 'action': {'kind': 'error', 'error': 'internal'}})
    world.ask()
    check(world.told['answered'] == 42 and world.told['refused'] == 3 and world.told['failed'] == 1, f'the load went as it should: {dict(world.told)}')


def numbers(browser, told):
    attempts = told['answered'] + 6
    browser.wait(lambda: number(browser.text('#sum-ledger-requests')) == attempts, f'the ledger has {attempts} requests to Google')
    check(browser.text('#sum-requests') == f'{told["requests"]} since its start · 1 failed · 3 refused', f'requests: {browser.text("#sum-requests")}')
    tokens = f'{told["prompt"]:,} prompt · {told["completion"]:,} completion'
    for plot in ('tokens', 'ledger-tokens'):
        check(browser.text(f'#sum-{plot}') == tokens, f'{plot}: {browser.text(f"#sum-{plot}")}')
    check(browser.text('#sum-first-token').endswith(f'· {told["streams"]} streams'), f'first token: {browser.text("#sum-first-token")}')
    check(browser.text('#sum-duration').endswith(f'· {told["answered"]} answers'), f'duration: {browser.text("#sum-duration")}')
    rows = browser.driver.find_elements(By.CSS_SELECTOR, '.failures tbody tr')
    check(len(rows) == 4, f'{len(rows)} errors are listed')
    drawn = browser.driver.execute_script("return [...document.querySelectorAll('.plot svg')].filter((svg) => [...svg.querySelectorAll('path:not(.grid)')].some((path) => path.getAttribute('d'))).length")
    check(drawn == 7, f'{drawn} plots are drawn')


def refreshing(browser, world):
    """The page keeps up by itself, and neither place nor what is unfolded is lost."""
    driver = browser.driver
    browser.find('#minutes summary').click()
    browser.find('#disable-fake-project-1').send_keys('')
    driver.execute_script("window.kept = 'kept'; document.getElementById('disable-fake-project-1').focus({preventScroll: true}); scrollTo(0, 700)")
    before = driver.execute_script('return scrollY')
    world.ask()
    browser.wait(lambda: number(browser.text('#sum-requests')) == world.told['requests'], 'the page refreshes itself')
    after = driver.execute_script("return [scrollY, document.activeElement.id, document.getElementById('minutes').open, window.kept]")
    check(after == [before, 'disable-fake-project-1', True, 'kept'], f'in its place: {after}')
    focus(browser, world)
    pause = browser.find('#pause')
    pause.click()
    shown = browser.text('#verdict time')
    time.sleep(12)
    check(browser.text('#verdict time') == shown and pause.get_attribute('aria-pressed') == 'true', 'it can be stopped')
    pause.click()
    browser.wait(lambda: browser.text('#verdict time') != shown, 'and goes on', 5)


def refreshed(browser, world, what):
    """The page has refreshed itself once more."""
    world.ask()
    browser.wait(lambda: number(browser.text('#sum-requests')) == world.told['requests'], what)


def focus(browser, world):
    """Nor is what somebody is at: a link, a sheet that was moved, what is marked, a search half typed."""
    driver = browser.driver
    browser.look(*SIZES['small-phone'])
    for at in ('show-resting', 'minutes-unfold', 'sheet-models'):
        driver.execute_script(f"document.getElementById('sheet-minutes').scrollLeft = 90; document.getElementById('{at}').focus({{preventScroll: true}})")
        refreshed(browser, world, f'it goes on while {at} has the focus')
        after = driver.execute_script("return [document.activeElement.id, document.getElementById('sheet-minutes').scrollLeft]")
        check(after == [at, 90], f'which it keeps, and its sheets their place: {after}')
    browser.look()
    field = browser.find('#q')
    field.send_keys('half ty')
    driver.execute_script('document.activeElement.setSelectionRange(2, 4)')
    refreshed(browser, world, 'it goes on while somebody types')
    kept = driver.execute_script('const at = document.activeElement; return [at.id, at.value, at.selectionStart, at.selectionEnd, document.querySelectorAll("#find").length]')
    check(kept == ['q', 'half ty', 2, 4, 1], f'who is not disturbed: {kept}')
    order = driver.execute_script("return [...document.querySelectorAll('main > section > h2, .choices > *')].map((e) => e.id)")
    check(order == ['', 'projects', 'show-all', 'show-need-you', 'show-resting', 'show-in-rotation', 'show-disabled', 'find', 'live', 'ledger', 'errors'], f'and all is in its place {order}')
    field.clear()
    browser.find('#pause').send_keys('')
    driver.execute_script("document.getElementById('pause').focus(); getSelection().selectAllChildren(document.querySelector('#project-fake-project-1 .id'))")
    shown = browser.text('#verdict time')
    time.sleep(12)
    check(driver.execute_script('return String(getSelection())') == 'fake-project-1' and browser.text('#verdict time') == shown, 'what is marked stays so')
    driver.execute_script('getSelection().removeAllRanges()')
    browser.wait(lambda: browser.text('#verdict time') != shown, 'until it is no longer')


def long_texts(browser, world):
    """One word without an end does not destroy what is beside it."""
    model = 'gemini-' + 'm' * 121
    host = '.'.join(['h' * 60] * 3)
    browser.open()
    browser.driver.execute_script("""
      const [model, host] = arguments, one = (selector) => document.querySelector(selector);
      one('.failures tbody td:nth-child(4)').textContent = model;
      one('.failures tbody code').textContent = model;
      one('#models tbody th').textContent = model;
      one('#project-fake-project-1 [data-of=State]').insertAdjacentHTML('beforeend', `<p class="next">${host}</p><p><a class="go" href="https://x.example">Open ${host}</a></p><p class="muted why"><code>${host}</code></p>`);
      one('#project-fake-project-1 [data-of=Limits]').insertAdjacentHTML('beforeend', '<span class="quota"><span>gemini-2.5-flash weekly</span><svg viewBox="0 0 100 6"><rect class="blue" width="40" height="6"/></svg><b>100 %</b></span>');
    """, model, host)
    browser.find('#pause').click()
    browser.shots('long-texts')


def buttons(browser, world):
    for what, disabled in (('disable', True), ('enable', False)):
        browser.press(what, 'fake-project-2')
        check(world.project('fake-project-2')['disabled'] is disabled, f'fake-project-2 is {what}d')
    before = world.project('fake-project-3')['refreshed_at']
    browser.press('refresh', 'fake-project-3')
    check(world.project('fake-project-3')['refreshed_at'] != before, 'fake-project-3 is refreshed')
    browser.wait(lambda: not browser.driver.find_elements(By.ID, 'notice'), 'what was told goes with the next refresh', 15)
    browser.open('?q=project-3')
    check(len(browser.driver.find_elements(By.CSS_SELECTOR, '.projects tbody tr')) == 1, 'a project is found by its name')
    browser.press('refresh', 'fake-project-3')
    check(browser.driver.current_url == f'{world.page}?q=project-3', f'and the way leads back to where one was: {browser.driver.current_url}')
    browser.open()


def click_needed(browser, world):
    control(world.google, 'faults', {'matcher': {'project': 'fake-project-1'}, 'times': 1, 'action': {'kind': 'error', 'error': 'validation_required'}})
    for _ in range(30):
        world.ask()
        if world.project('fake-project-1')['state'] == 'needs_validation':
            break
    browser.wait(lambda: browser.text('#verdict h2') == '1 project needs you', 'the page tells by itself that somebody is needed')
    first = browser.driver.find_elements(By.CSS_SELECTOR, '.projects tbody tr')[0]
    link = first.find_element(By.CSS_SELECTOR, 'a.go')
    check('fake-project-1' in first.text and 'needs a click' in first.text, 'its project comes first')
    check(link.get_attribute('href').startswith('https://') and 'noreferrer' in link.get_attribute('rel'), f'with its link: {link.text}')
    control(world.google, 'faults', {'matcher': {'project': 'fake-project-3'}, 'times': 1, 'action': {'kind': 'error', 'error': 'quota_exhausted', 'retry_after': 7200}})
    for _ in range(4):
        world.ask()
    browser.open()
    browser.shots('needs-a-click')
    browser.press('refresh', 'fake-project-1')
    browser.press('refresh', 'fake-project-3')
    browser.wait(lambda: browser.text('#verdict h2') == 'All is well', 'after the click and a refresh all is well')


def others(browser, world):
    """Pages of others: on another port of this machine, which browsers take for the same site, cookies and all."""
    pages = {'/frame': f'<iframe src="{world.page}"></iframe>',
             '/form': f'<form method="post" action="{world.page}project"><input name="id" value="fake-project-1"><input name="action" value="disable"><input name="csrf" value="guess"><button>A prize</button></form>'}

    class Attacker(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Type', 'text/html')
            self.end_headers()
            self.wfile.write(pages.get(self.path, '').encode())

        def log_message(self, *_):
            pass

    browser.complaints('until now')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Attacker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    driver, there = browser.driver, f'http://127.0.0.1:{server.server_port}'
    try:
        driver.get(f'{there}/frame')
        driver.switch_to.frame(0)
        check('verdict' not in driver.page_source, 'the page does not show in a frame')
        driver.switch_to.default_content()
        refused = [line['message'] for line in driver.get_log('browser') if 'frame-ancestors' in line['message'] or 'X-Frame-Options' in line['message']]
        check(refused, f'as the browser says: {refused[:1]}')
        driver.get(f'{there}/form')
        browser.find('button').click()
        browser.wait(lambda: browser.has('Not from another page'), 'a form of another page is refused')
        check(not world.project('fake-project-1')['disabled'], 'and changes nothing')
    finally:
        server.shutdown()
        server.server_close()
    driver.get_log('browser'), driver.get_log('performance')
    browser.open()


def away(browser, world):
    world.tokens.stop()
    browser.wait(lambda: browser.text('#verdict h2').startswith('The token-service does not answer'), 'that the token-service is away is told by itself')
    check(world.ask() == 200, 'the gateway goes on')
    browser.wait(lambda: number(browser.text('#sum-requests')) == world.told['requests'], 'and its own figures with it')
    browser.shots('away')
    world.tokens = world.stack.token_service(**world.env)
    browser.wait(lambda: browser.text('#verdict h2') == 'All is well', 'it comes back by itself')


def without_script(world, folder):
    with chromium(script=False) as driver:
        browser = Browser(driver, world, folder)
        browser.open()
        browser.sign_in()
        browser.wait(lambda: browser.text('#verdict h2') == 'All is well', 'without scripts one can sign in')
        browser.press('disable', 'fake-project-1')
        check(world.project('fake-project-1')['disabled'], 'and the buttons do what they say')
        browser.press('enable', 'fake-project-1')
        before = browser.text('#verdict time')
        browser.wait(lambda: browser.text('#verdict time') != before, 'and the page refreshes itself', 45)
        browser.complaints('without scripts')


def large(world):
    """Ten thousand projects: what a look at them costs."""
    env = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{world.tokens.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN']}
    path = os.path.join(world.stack.folder, 'many.json')
    entries = [{'project_id': f'many-{n:05}', 'api_key': f'AIzaFake-{n:05}', 'upstream': 'gemini'} for n in range(10_000)]
    with open(path, 'w', encoding='utf8') as file:
        json.dump({'projects': entries}, file)
    done = subprocess.run([os.path.join(BIN, 'antigravity-gateway'), 'import', path], env=env, cwd=world.stack.folder, capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f'10,000 projects are imported {done.stdout[-200:] if done.returncode else ""}{done.stderr[-300:] if done.returncode else ""}')


def many(folder):
    with Stack() as stack, chromium() as driver:
        world = World(stack, 3)
        large(world)
        control(world.google, 'faults', {'matcher': {'project': 'fake-project-2'}, 'times': 1, 'action': {'kind': 'error', 'error': 'validation_required'}})
        browser = Browser(driver, world, folder)
        for _ in range(400):
            world.ask()
            if world.project('fake-project-2')['state'] == 'needs_validation':
                break
        browser.open()
        began = time.monotonic()
        browser.sign_in()
        browser.wait(lambda: browser.text('#verdict h2') == '1 project needs you', 'of 10,003 projects one needs somebody')
        took = time.monotonic() - began
        size = len(driver.page_source)
        rows = driver.find_elements(By.CSS_SELECTOR, '.projects tbody tr')
        row = rows[30].get_attribute('id').removeprefix('project-')
        driver.execute_script("document.getElementById(arguments[0]).scrollIntoView({block: 'center'})", f'disable-{row}')
        browser.press('refresh', row)
        place = driver.execute_script("const box = document.getElementById(arguments[0]).getBoundingClientRect(), told = document.getElementById('notice').getBoundingClientRect(); return [scrollY > 0, document.activeElement.id, told.top >= 0 && told.bottom < innerHeight, box.top >= told.bottom && box.bottom <= innerHeight]", f'project-{row}')
        check(place == [True, f'project-{row}', True, True], f'after a button one is at its row again, and sees what was told: {place}')
        browser.open()
        rows = driver.find_elements(By.CSS_SELECTOR, '.projects tbody tr')
        check(len(rows) == 50 and 'fake-project-2' in rows[0].text, 'it stands first of the 50 that are shown')
        check(took < 10 and size < 300_000, f'after {took:.1f} s, in {size:,} characters')
        browser.open('?q=many-099&page=2')
        check(browser.text('.pages span') == '51–100 of 100', f'pages and words narrow them down: {browser.text(".pages span")}')
        browser.open()
        browser.shots('many')


def full(folder):
    with Stack() as stack, chromium() as driver:
        world = World(stack, 3)
        browser = Browser(driver, world, folder)
        load(world)
        browser.open()
        browser.sign_in()
        numbers(browser, world.told)
        browser.open()
        browser.shots('under-load')
        refreshing(browser, world)
        long_texts(browser, world)
        browser.open()
        buttons(browser, world)
        click_needed(browser, world)
        others(browser, world)
        away(browser, world)
        browser.complaints('all the time')
        without_script(world, folder)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument('--screenshots', metavar='FOLDER', help='keep the pictures there')
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix='agw-status-') as folder:
        if arguments.screenshots:
            os.makedirs(arguments.screenshots, exist_ok=True)
            folder = arguments.screenshots
        for part in (empty, full, many):
            print(f'\n{part.__name__}', flush=True)
            part(folder)
    if failed:
        raise SystemExit(f'{len(failed)} did not hold')


if __name__ == '__main__':
    main()
