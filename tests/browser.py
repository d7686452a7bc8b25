"""A real Chromium without a window, driven over its DevTools pipe with the standard library alone.

For tests.

    with Browser(find_chromium()) as browser:
        page = browser.open(Path("report.html"))
        page.run("document.title")
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
    "ArrowDown": 40, "Tab": 9, "Enter": 13,
    "Home": 36, "End": 35,
}

# Chromium reads commands from descriptor 3 and writes answers to 4. The pipes move out of the way
# first, then there.
LAUNCH = """
import fcntl, os, sys
far = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 20) for fd in sys.argv[1:3]]
for here, fd in zip(far, (3, 4)):
    os.dup2(here, fd)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """The first Chromium on PATH, where its pipe can be used."""
    if sys.platform == "win32":
        return None
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with a profile of its own and no way to any network."""

    def __init__(self, program: str):
        self.profile = tempfile.TemporaryDirectory(
            prefix="minir1-chromium-", ignore_cleanup_errors=True
        )
        there, self.send_to = os.pipe()
        self.read_from, back = os.pipe()
        flags = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--remote-debugging-pipe",
            "--disable-background-networking", "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--proxy-server=127.0.0.1:9", "--force-device-scale-factor=1",
            f"--user-data-dir={self.profile.name}",
        ]
        command = [
            sys.executable, "-c", LAUNCH, str(there), str(back), program, *flags, "about:blank",
        ]
        self.process = subprocess.Popen(
            command, pass_fds=(there, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(there)
        os.close(back)
        self.buffer, self.count, self.events = b"", 0, []

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.send_to)
        os.close(self.read_from)
        self.profile.cleanup()

    def call(
        self, method: str, session: str | None = None, seconds: float = 60, **parameters
    ) -> dict:
        """One command and its answer; what happens meanwhile is kept in `events`."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self.send_to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            answer = self._read(end)
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self, end: float) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_from], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.read_from, 1 << 20)
            assert part, "the browser has ended"
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False) -> "Page":
        """A file from the disk in a page of its own, offline, when it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        page = Page(
            self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        )
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1,
            uploadThroughput=-1,
        )
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        page.call("Emulation.setEmulatedMedia", features=scheme)
        page.call("Page.navigate", url=path.resolve().as_uri())
        page.wait("location.protocol === 'file:' && document.readyState === 'complete'")
        page.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        )
        return page


class Page:
    def __init__(self, browser: Browser, session: str):
        self.browser, self.session = browser, session

    def call(self, method: str, **parameters) -> dict:
        return self.browser.call(method, self.session, **parameters)

    def run(self, code: str):
        """The value of a JavaScript expression (of a promise, what it promises)."""
        result = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, code: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not self.run(code):
            assert time.monotonic() < end, f"never came true: {code}"
            time.sleep(0.05)

    def press(self, key: str, times: int = 1) -> None:
        """A key as the keyboard sends it, to whatever has the focus."""
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        how = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", **how, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **how)

    def point(self, selector: str, x: float = 0.5, y: float = 0.5, click: bool = False) -> None:
        """The mouse over an element, at shares of its width and height."""
        shown = "(e => (e.scrollIntoView({block: 'center'}), e.getBoundingClientRect().toJSON()))"
        box = self.run(f"{shown}(document.querySelector({json.dumps(selector)}))")
        where = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **where)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def screenshot(self, path: Path) -> Path:
        """The whole page, its first 6,000 pixels at most."""
        size = self.run(
            "(e => [e.clientWidth, Math.min(6000, e.scrollHeight)])(document.documentElement)"
        )
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, format="png", clip=clip
        )
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def troubles(self) -> list[str]:
        """Errors and warnings of the console, exceptions, breaches of the page's policy; and any
        request that is not for a file.
        """
        found = []
        self.run("1")  # what has happened up to now has arrived when this is answered
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, what = event["method"], event.get("params", {})
            level = what.get("entry", {}).get("level") or what.get("type")
            spoken = method in ("Log.entryAdded", "Runtime.consoleAPICalled") and level in (
                "error", "warning", "assert",
            )
            if spoken or method == "Runtime.exceptionThrown":
                found.append(json.dumps(what)[:500])
            if method == "Network.requestWillBeSent" and not what["request"]["url"].startswith(
                "file:"
            ):
                found.append(f"asked for {what['request']['url']}")
        return found
