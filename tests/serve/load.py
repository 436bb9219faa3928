"""Load for a server or a proxy: numbered inference requests over connections that are kept alive.

    load.py URL SECONDS-OR-FILE CONNECTIONS

Asks the embedded classifier until the seconds have passed or FILE exists. Nothing is asked twice: what fails, failed.
Every request has a number, which is its id and chooses its input; the answer must have that id and, to the bit, the
output that URL gave for that input before. Prints a line of JSON: requests, answers, failures and milliseconds.
"""
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse

INPUTS = 16
PATH = "/v2/models/fashion/infer"


def body(number):
    k = number % INPUTS
    # Pixels from a linear congruence: any values do, if they differ between the inputs.
    data = [((i * 7919 + k * 104729) % 256) / 255 for i in range(28 * 28)]
    tensor = {"name": "image", "shape": [1, 1, 28, 28], "datatype": "FP32", "data": data}
    # The fourth ones are too large for a small buffer of a proxy.
    padding = "x" * 40000 if number % 4 == 3 else ""
    return json.dumps({"id": str(number), "inputs": [tensor], "parameters": {"padding": padding}})


def pieces(data):
    """The body in two, with a pause: as clients on slow networks send it."""
    yield data[: len(data) // 2]
    time.sleep(0.005)
    yield data[len(data) // 2:]


class Client:
    def __init__(self, url):
        self.address = urllib.parse.urlparse(url).netloc
        self.connection = None

    def ask(self, number):
        """The output; an exception when there is none."""
        if not self.connection:
            self.connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            data = body(number).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
            self.connection.request("POST", PATH, pieces(data) if number % 2 else data, headers)
            response = self.connection.getresponse()
            text = response.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise
        if response.status != 200:
            raise RuntimeError("status %d: %s" % (response.status, text[:200].decode("utf-8", "replace")))
        answer = json.loads(text)
        if answer.get("id") != str(number):
            raise RuntimeError("the answer to %d has the id %r" % (number, answer.get("id")))
        return answer["outputs"][0]["data"]


class Load:
    def __init__(self, url):
        self.url = url
        self.lock = threading.Lock()
        self.next = 0
        self.answers = {}
        self.failures = []
        self.times = []
        first = Client(url)
        self.expected = [first.ask(k) for k in range(INPUTS)]

    def worker(self, done):
        client = Client(self.url)
        while not done():
            with self.lock:
                number = self.next
                self.next += 1
            begin = time.monotonic()
            problem = None
            try:
                if client.ask(number) != self.expected[number % INPUTS]:
                    problem = "a wrong output"
            except Exception as error:
                problem = "%s: %s" % (type(error).__name__, error)
            with self.lock:
                self.times.append(1000 * (time.monotonic() - begin))
                if problem:
                    self.failures.append("request %d: %s" % (number, problem))
                else:
                    self.answers[number] = self.answers.get(number, 0) + 1

    def report(self):
        times = sorted(self.times)
        return {
            "requests": self.next,
            "answered_once": sum(1 for n in self.answers.values() if n == 1),
            "failed": len(self.failures),
            "ms_median": round(times[len(times) // 2], 2),
            "ms_p99": round(times[len(times) * 99 // 100], 2),
            "ms_max": round(times[-1], 2),
            "failures": self.failures[:5],
        }


def main(url, until, connections):
    load = Load(url)
    try:
        end = time.monotonic() + float(until)
    except ValueError:
        end = None

    def done():
        return time.monotonic() > end if end is not None else os.path.exists(until)

    threads = [threading.Thread(target=load.worker, args=(done,)) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(load.report()))


main(*sys.argv[1:4])
