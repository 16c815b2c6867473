#!/usr/bin/env python3
"""Brings accounts in as users do, at fake-google's consent page: a real Chromium that clicks through, started by `login`
as its BROWSER; and by paste in a terminal (tmux), with a client that is asked for. Then asks the gateway with each.

  login.py             all of it; needs chromium, chromedriver and tmux
  login.py --browse F  what BROWSER runs: opens the address that follows, clicks, and notes in F what it saw
"""
import contextlib, json, os, re, shlex, subprocess, sys, tempfile, time
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from stack import BIN, Stack, clean_env, free_port, post
from terminal import Terminal

CLIENT, SECRET = 'fake-client.apps.googleusercontent.com', 'fake-client-secret'
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server')
PROGRAM = os.path.join(BIN, 'antigravity-gateway')
MODEL = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'Hello there'}]}


def check(condition, what):
    print('ok  ' if condition else 'FAIL', what, flush=True)
    if not condition:
        raise SystemExit(1)


@contextlib.contextmanager
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = '/usr/bin/chromium'
    with tempfile.TemporaryDirectory(prefix='agw-chromium-', ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f'--user-data-dir={profile}'):
            options.add_argument(flag)
        driver = webdriver.Chrome(options, webdriver.ChromeService('/usr/bin/chromedriver'))
        try:
            driver.set_page_load_timeout(60)
            yield driver
        finally:
            driver.quit()


def decide(driver, address, account, decision):
    """Chooses the account, if it is asked for one, and presses Allow or Cancel."""
    driver.get(address)
    chooser = driver.find_elements(By.CSS_SELECTOR, f'button[value="{account}"]')
    if chooser:
        chooser[0].click()
    button = WebDriverWait(driver, 20).until(lambda d: d.find_element(By.ID, decision))
    check(account in driver.page_source, f'the consent page names {account}')
    with contextlib.suppress(WebDriverException):
        # Where nobody listens, the page that it leads to is an error.
        button.click()
    WebDriverWait(driver, 60).until(lambda d: '/oauth-callback' in d.current_url)
    return driver.current_url


def browse(file, address):
    with open(file, encoding='utf8') as wish:
        account, decision = json.load(wish)
    with chromium() as driver:
        decide(driver, address, account, decision)
        heading = WebDriverWait(driver, 60).until(lambda d: d.find_element(By.TAG_NAME, 'h1')).text
        seen = {'heading': heading, 'text': driver.find_element(By.TAG_NAME, 'body').text,
                'errors': [line['message'] for line in driver.get_log('browser') if 'favicon' not in line['message']]}
    with open(f'{file}.seen', 'w', encoding='utf8') as out:
        json.dump(seen, out)


class Place:
    """A folder with a pool, and a Google that is fake."""

    def __init__(self, stack):
        self.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='agw-login-'))
        port = free_port()
        self.google = f'http://127.0.0.1:{port}'
        stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '3']).wait_for(str(port))
        self.env = {**clean_env(), 'TOKEN_SERVICE_LISTEN': '127.0.0.1:0', 'OAUTH_TOKEN_URL': f'{self.google}/token',
                    'OAUTH_AUTH_URL': f'{self.google}/o/oauth2/v2/auth', 'OAUTH_USERINFO_URL': f'{self.google}/oauth2/v2/userinfo',
                    'ANTIGRAVITY_BASE_URLS': self.google, 'GEMINI_BASE_URL': self.google, 'VERTEX_BASE_URL': self.google}
        self.stack = stack

    def run(self, *args, data=None, **env):
        return subprocess.run([PROGRAM, *args], cwd=self.folder, env={**self.env, **env}, input=data, capture_output=True, text=True, timeout=120)

    def projects(self):
        return {project['id']: project for project in json.loads(self.run('projects', 'list', '--json').stdout)['projects']}

    def chat(self):
        """Asks the gateway, with the pool of this folder."""
        env = {**self.env, 'PORT': '0', 'SHUTDOWN_DELAY': '0s', 'DATABASE_URL': f'sqlite://{self.folder}/data/tokens.db'}
        serving = self.stack.start('antigravity-gateway', ['serve'], env)
        serving.listening('the gateway listens')
        with open(f'{self.folder}/data/api_key', encoding='utf8') as file:
            key = file.read().strip()
        status, _, body = post(f'http://{serving.address}/v1/chat/completions', MODEL, key)
        serving.stop()
        check(status == 200 and b'Hello there' in body, f'the gateway answers with it: {status}')


def by_browser(stack):
    place = Place(stack)
    put = place.run('oauth-clients', 'put', CLIENT, '--secret-file', '-', data=SECRET)
    check(put.returncode == 0, 'an OAuth client is stored')
    wish = f'{place.folder}/wish'

    def login(account, decision, *args):
        with open(wish, 'w', encoding='utf8') as file:
            json.dump([account, decision], file)
        browser = shlex.join([sys.executable, os.path.abspath(__file__), '--browse', wish])
        done = place.run('login', *args, BROWSER=browser)
        end = time.monotonic() + 30
        while not os.path.exists(f'{wish}.seen') and time.monotonic() < end:
            time.sleep(0.1)
        with open(f'{wish}.seen', encoding='utf8') as file:
            seen = json.load(file)
        os.remove(f'{wish}.seen')
        return done, seen

    began = time.monotonic()
    done, seen = login('fake-project-2@example.com', 'allow')
    check(done.returncode == 0 and 'fake-project-2 is added' in done.stdout, f'logged in by clicking, in {time.monotonic() - began:.1f} s: {done.stdout.splitlines()[:1]} {done.stderr[-300:] if done.returncode else ""}')
    check(seen['heading'] == 'Logged in' and 'fake-project-2' in seen['text'], f'the browser shows it: {seen["text"][:100]!r}')
    check(not seen['errors'], f'without a complaint of the browser: {seen["errors"]}')
    place.chat()
    done, seen = login('fake-project-3@example.com', 'deny')
    check(done.returncode == 1 and 'consent was denied' in done.stderr, 'a denial is told')
    check(seen['heading'] == 'Not logged in', 'in the browser as well')
    done, _ = login('fake-project-2@example.com', 'allow', '--json')
    check(done.returncode == 0 and json.loads(done.stdout)['created'] is False, 'the same account gets a new login')
    check(list(place.projects()) == ['fake-project-2'], 'and nothing else is there')


def by_paste(stack):
    place, terminal = Place(stack), Terminal(stack)
    terminal.start([PROGRAM, 'login', '--no-browser'], place.folder, place.env)
    terminal.wait_for('Client ID: ')
    terminal.type(CLIENT)
    terminal.wait_for('Client secret')
    terminal.type(SECRET)
    address = terminal.wait_for(r'http://127\.0\.0\.1:\d+/o/oauth2/v2/auth\?\S+')[0]
    check(SECRET not in terminal.text(), 'the client secret does not show as it is typed')
    terminal.type('something else from the clipboard?')
    terminal.wait_for('What you pasted holds neither a code nor an error')
    with chromium() as driver:
        back = decide(driver, address, 'fake-project-1@example.com', 'allow')
    check(back.startswith('http://127.0.0.1:8085/oauth-callback?'), 'the browser ends where nobody listens')
    terminal.type(f'"{back}"')
    terminal.wait_for('exit status: 0')
    text = terminal.text()
    check('fake-project-1 is added' in text and 'account fake-project-1@example.com' in text, 'logged in by paste')
    steps = re.findall(r'^✓ (.+)$', text, re.M)
    check(len(steps) == 4 and steps[-1].startswith('proving'), f'each step is told: {steps}')
    check(SECRET not in text and 'ya29.' not in text and '1//' not in text, 'no secret shows')
    print('\n'.join(f'     | {line}' for line in text.strip().splitlines()[-14:]))
    place.chat()


def interrupted(stack):
    """Ctrl-C while a secret is typed: the terminal shows again what is typed, and nothing is stored."""
    place, terminal = Place(stack), Terminal(stack)
    terminal.start(['sh', '-c', f'trap : INT; {shlex.quote(PROGRAM)} login --no-browser; echo "ended with $?"; stty -a'], place.folder, place.env)
    terminal.wait_for('Client ID: ')
    terminal.type(CLIENT)
    terminal.wait_for('Client secret')
    terminal.tmux('send-keys', 'C-c')
    terminal.wait_for('ended with 130')
    terminal.wait_for(r'(?<!-)\becho\b')
    check('nothing was stored' in terminal.text(), 'it says so, and the terminal is as before')
    check('no OAuth client' in place.run('oauth-clients', 'list').stdout, 'no client is there')


def main():
    if sys.argv[1:2] == ['--browse']:
        return browse(*sys.argv[2:4])
    for part in (by_browser, by_paste, interrupted):
        print(f'\n{part.__name__.replace("_", " ")}', flush=True)
        with Stack() as stack:
            part(stack)


if __name__ == '__main__':
    main()
