"""A terminal for programs that ask people: tmux, which types and looks."""
import os, re, shlex, subprocess, time


class Terminal:
    """A terminal of 80 columns, as a server has one."""

    def __init__(self, stack):
        self.socket = f'agw-terminal-{os.getpid()}'
        stack.callback(lambda: subprocess.run(['tmux', '-L', self.socket, 'kill-server'], capture_output=True))

    def tmux(self, *args):
        return subprocess.run(['tmux', '-L', self.socket, '-f', '/dev/null', *args], check=True, capture_output=True, text=True).stdout

    def start(self, command, folder, env):
        words = [f'{name}={value}' for name, value in env.items()]
        shell = f'trap : INT; env -i {shlex.join(words)} TERM=xterm {shlex.join(command)}; echo "exit status: $?"; sleep 600'
        self.tmux('new-session', '-d', '-x', '80', '-y', '200', '-c', folder, 'sh', '-c', shell)

    def text(self):
        return self.tmux('capture-pane', '-p', '-J')

    def wait_for(self, pattern, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            time.sleep(0.1)
        raise SystemExit(f'no {pattern!r} in the terminal:\n{self.text()}')

    def type(self, text):
        self.tmux('send-keys', '-l', text)
        self.tmux('send-keys', 'Enter')
