#!/usr/bin/env python3
"""Asks a real Prometheus what the dashboard of docs/operations/grafana.json asks, and the rules
that docs/operations/prometheus.yml has in comments, while a café works under load: every panel
has something to show, and every rule is one. With a file as argument it draws there what each
panel was answered, by matplotlib in place of Grafana.

Needs Prometheus: apt-get install prometheus; for the picture, pip install matplotlib."""

import http.client
import json
import re
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


def named(legend, labels):
    return re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), legend)


def draw(panels, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels)
    figure = plot.figure(figsize=(16, bottom / 3))
    for panel, series in panels:
        at = panel["gridPos"]
        room = (
            at["x"] / 24 + 0.035,
            1 - (at["y"] + at["h"]) / bottom + 0.03,
            at["w"] / 24 - 0.05,
            at["h"] / bottom - 0.055,
        )
        axes = figure.add_axes(room)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        axes.set_title(f"{panel['title']} ({unit})", fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        if panel["type"] == "stat":
            axes.axis("off")
            said = "    ".join(f"{name}: {points[-1][1]:g}" for name, points in series)
            axes.text(0, 0.4, said, fontsize=14)
            continue
        first = min(points[0][0] for _, points in series)
        for name, points in series:
            axes.plot([at - first for at, _ in points], [it for _, it in points], label=name)
        axes.legend(fontsize=6, loc="upper left")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


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
            answered = []
            empty = []
            for panel in dashboard["panels"]:
                series = []
                for target in panel["targets"]:
                    expression = target["expr"].replace("$component", ".*")
                    expression = expression.replace("$__rate_interval", f"{RATE_SECONDS}s")
                    found = [
                        (
                            named(target["legendFormat"], one["metric"]),
                            [(at, float(value)) for at, value in one["values"] if value != "NaN"],
                        )
                        for one in prometheus.range(expression, begin, end)
                    ]
                    found = [one for one in found if one[1]]
                    most = max((value for _, points in found for _, value in points), default=0)
                    print(f"{panel['title']}: {len(found)} series, at most {most:g}: {expression}")
                    if most <= 0:
                        empty.append(f"{panel['title']}: {expression}")
                    series += found
                answered.append((panel, series))
            if len(sys.argv) > 1:
                draw(answered, sys.argv[1])
            if empty:
                sys.exit("nothing to be seen:\n" + "\n".join(empty))
            print(f"all {len(answered)} panels show something, and the rules are rules")
        finally:
            prometheus.process.terminate()
            café.process.terminate()


main()
