#!/usr/bin/env python3
"""Asks a real Prometheus what the dashboard of docs/operations/grafana.json asks, and the rules
that docs/operations/prometheus.yml has in comments, while a café works under load: every panel
has something to show, and every rule is one. With a file as argument it draws there what each
panel was answered, by the components of Grafana's UI library; see scripts/dashboard.

Needs Prometheus: apt-get install prometheus; for the picture, Node.js 20 or later with npm,
which installs the library in target/dashboard, and Chromium: apt-get install npm chromium."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

OPERATIONS = Path("docs/operations")
TOKEN = "0123456789abcdef0123456789abcdef"
SCRAPE_SECONDS = 1
# What happens goes on for so long, of which the rates look at a part.
LOAD_SECONDS = 40
RATE_SECONDS = 10


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Café:
    """`up examples/cafe`, reached over HTTP."""

    def __init__(self, work):
        self.tokens = work / "tokens"
        self.tokens.write_text(f"administer {TOKEN}\n")
        self.tokens.chmod(0o600)
        command = ["target/debug/airssys-wasm", "up", "examples/cafe"]
        command += ["--listen", "127.0.0.1:0", "--token-file", str(self.tokens)]
        command += ["--max-mailbox", "100B"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            if line.startswith("listening at http://"):
                self.address = line.split("http://")[1].strip()
                break
        else:
            sys.exit("`up` does not say where it listens")
        threading.Thread(target=lambda: all(self.process.stderr), daemon=True).start()

    def post(self, path, body):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}
        connection.request("POST", path, body, headers)
        connection.getresponse().read()
        connection.close()

    def work_until(self, end):
        """Orders, coins, what is not permitted, what burns down, and more than is taken."""
        turn = 0
        while time.time() < end:
            turn += 1
            self.post("/components/cafe/waiter/ada", "order soup")
            self.post("/components/cafe/guest/max", "tip 2")
            for _ in range(20):
                self.post("/components/cafe/till/main/messages", "1")
            if turn % 10 == 0:
                self.post("/components/cafe/guest/max", "peek")
                self.post("/components/cafe/till/main", "no coins")
            if turn % 20 == 0:
                self.post("/components/cafe/waiter/ben", "order fondue")


class Prometheus:
    """Prometheus with the configuration of the guide, but for address, token and pace."""

    def __init__(self, work, café):
        text = (OPERATIONS / "prometheus.yml").read_text()
        scrape, _, rules = text.partition("# A part of a file of rules.\n")
        wanted = {
            "scrape_interval: 15s": f"scrape_interval: {SCRAPE_SECONDS}s",
            "/etc/prometheus/airssys-wasm.token": str(work / "token"),
            "127.0.0.1:7070": café.address,
        }
        for old, new in wanted.items():
            assert old in scrape, f"{old} is not in prometheus.yml"
            scrape = scrape.replace(old, new)
        (work / "token").write_text(TOKEN)
        (work / "rules.yml").write_text(re.sub(r"(?m)^# ?", "", rules))
        scrape += f"\nrule_files: [{work}/rules.yml]\n"
        (work / "prometheus.yml").write_text(scrape)
        subprocess.run(["promtool", "check", "config", work / "prometheus.yml"], check=True)
        self.port = free_port()
        command = ["prometheus", f"--config.file={work}/prometheus.yml"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}"]
        command += [f"--storage.tsdb.path={work}/data", "--log.level=error"]
        self.process = subprocess.Popen(command)

    def range(self, expression, begin, end):
        """The series that the expression has, each with its labels and its points."""
        query = {"query": expression, "start": begin, "end": end, "step": SCRAPE_SECONDS}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/v1/query_range?" + urllib.parse.urlencode(query))
        answer = json.load(connection.getresponse())
        if answer["status"] != "success":
            sys.exit(f"{expression}\n{answer['error']}")
        return answer["data"]["result"]


def draw(asked, path):
    """Draws by the components of Grafana's UI library, in a browser without a screen."""
    page = Path("target/dashboard").absolute()
    picture = Path(path).absolute()
    shutil.copytree("scripts/dashboard", page, dirs_exist_ok=True)
    (page / "answers.json").write_text(json.dumps(asked))
    install = ["npm", "install", "--no-package-lock", "--loglevel=error"]
    subprocess.run(install, cwd=page, check=True)
    subprocess.run(["npm", "run", "build"], cwd=page, check=True)
    places = [panel["gridPos"] for panel in asked["dashboard"]["panels"]]
    # Rows of 30 pixels with 8 around each.
    height = 38 * max(place["y"] + place["h"] for place in places) + 8
    command = [shutil.which("chromium") or sys.exit("there is no chromium")]
    command += ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={page}/browser", "--enable-logging=stderr"]
    command += [f"--window-size=1600,{height}", "--virtual-time-budget=10000"]
    # Otherwise a legend is now and then not painted yet.
    command += ["--run-all-compositor-stages-before-draw"]
    command += [f"--screenshot={picture}", (page / "index.html").as_uri()]
    said = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    if "written to file" not in said or "Uncaught" in said:
        sys.exit(f"the browser draws nothing:\n{said}")


def main():
    build = ["cargo", "build", "--locked", "--workspace", "--bin", "airssys-wasm"]
    subprocess.run(build, check=True)
    dashboard = json.loads((OPERATIONS / "grafana.json").read_text())
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        café = Café(work)
        prometheus = Prometheus(work, café)
        try:
            begin = time.time()
            end = begin + LOAD_SECONDS
            crowd = [threading.Thread(target=café.work_until, args=(end,)) for _ in range(8)]
            for one in crowd:
                one.start()
            for one in crowd:
                one.join()
            time.sleep(2 * SCRAPE_SECONDS)
            answers = []
            empty = []
            for panel in dashboard["panels"]:
                answers.append([])
                for target in panel["targets"]:
                    expression = target["expr"].replace("$component", ".*")
                    expression = expression.replace("$__rate_interval", f"{RATE_SECONDS}s")
                    found = prometheus.range(expression, begin, end)
                    answers[-1].append(found)
                    points = [
                        [float(value) for _, value in one["values"] if value != "NaN"]
                        for one in found
                    ]
                    points = [one for one in points if one]
                    most = max(map(max, points), default=0)
                    print(f"{panel['title']}: {len(points)} series, at most {most:g}: {expression}")
                    if most <= 0:
                        empty.append(f"{panel['title']}: {expression}")
            if len(sys.argv) > 1:
                asked = {"dashboard": dashboard, "answers": answers}
                draw({**asked, "from": begin, "to": end, "step": SCRAPE_SECONDS}, sys.argv[1])
            if empty:
                sys.exit("nothing to be seen:\n" + "\n".join(empty))
            print(f"all {len(answers)} panels show something, and the rules are rules")
        finally:
            prometheus.process.terminate()
            café.process.terminate()


main()
