"""What deploy/ says against what the server does; prints TAP.

    manifests.py TERN SCRATCH

Each command line of a manifest is run, with its folder of models and its port exchanged for ones that are there, and
asked what the manifest asks: probes, metrics, health checks. Names that must agree between the files are compared.
"""
import atexit
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

TERN, SCRATCH = sys.argv[1:3]
number = 0
failed = 0


def result(good, name, detail=""):
    global number, failed
    number += 1
    print("%s %d - %s" % ("ok" if good else "not ok", number, name), flush=True)
    if not good:
        failed += 1
        print("# %s" % detail)


def skip(name, reason):
    global number
    number += 1
    print("ok %d - %s # SKIP %s" % (number, name, reason))


def same(have, want, name):
    result(have == want, name, "%r, and %r" % (have, want))


def load(path):
    with open(path) as file:
        return list(yaml.safe_load_all(file))


def option(args, name, default=None):
    return args[args.index(name) + 1] if name in args else default


def get(url):
    """Status and text."""
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Server:
    """tern serve with the arguments of a manifest."""

    def __init__(self, args, folder):
        models = os.path.join(SCRATCH, "models")
        if not os.path.isdir(models):
            os.makedirs(models + "/fashion/1")
            shutil.copy("models/fashion.onnx", models + "/fashion/1/model.onnx")
        args = [models if a == folder else a for a in args]
        if "--port" in args:
            args[args.index("--port") + 1] = "0"
        else:
            args += ["--port", "0"]
        self.log = open(os.path.join(SCRATCH, "log%d" % len(servers)), "w+")
        self.process = subprocess.Popen([TERN, "serve"] + args, stdout=subprocess.DEVNULL, stderr=self.log)
        self.url = None
        self.draining = False
        for _ in range(600):
            self.log.seek(0)
            found = re.search(r"listening on http://\S+:(\d+)", self.log.read())
            if found or self.process.poll() is not None:
                break
            time.sleep(0.1)
        if found:
            self.port = found.group(1)
            self.url = "http://127.0.0.1:" + self.port

    def terminate(self):
        """SIGTERM, once: a second one would end the wait of --drain."""
        if not self.draining:
            self.process.send_signal(signal.SIGTERM)
        self.draining = True

    def drain(self):
        """Status of readiness and of liveness after SIGTERM."""
        self.terminate()
        for _ in range(100):
            ready = get(self.url + "/v2/health/ready")[0]
            if ready != 200:
                break
            time.sleep(0.05)
        return ready, get(self.url + "/v2/health/live")[0]


servers = []


@atexit.register
def kill_all():
    for _, server in servers:
        server.process.kill()
        server.process.wait()


def run(name, args, folder, questions):
    """Starts it, asks each of the paths, hands the server to `questions`, and lets it drain in the background."""
    server = Server(args, folder)
    servers.append((name, server))
    with open(server.log.name) as log:
        result(server.url is not None, "%s: the server takes the arguments" % name, log.read())
    if server.url:
        questions(server)
        same(server.drain(), (503, 200), "%s: after SIGTERM it is not ready, but alive" % name)


def check_exits():
    for name, server in servers:
        if server.url:
            same(server.process.wait(60), 0, "%s: then it ends with 0" % name)


def probes(container):
    return {k: v["httpGet"] for k, v in container.items() if k.endswith("Probe")}


def check_container(name, container, grace, annotations, prefix):
    """The parts that a pod of Kubernetes and a runtime of KServe share."""
    args, port = container["args"], container["ports"][0]
    same(option(args, "--port"), str(port["containerPort"]), "%s: port of the container" % name)
    same(option(args, "--host"), "0.0.0.0", "%s: it can be reached from outside" % name)
    for probe, ask in probes(container).items():
        result(ask["port"] in (port.get("name"), port["containerPort"]), "%s: port of %s" % (name, probe), ask)
    same(annotations[prefix + "port"], str(port["containerPort"]), "%s: port of the metrics" % name)
    if grace is not None:
        least = float(option(args, "--drain")) + float(option(args, "--exit-timeout"))
        result(grace > least, "%s: time to end" % name, "%s, at most %s needed" % (grace, least))

    def questions(server):
        for probe, ask in probes(container).items():
            same(get(server.url + ask["path"])[0], 200, "%s: %s" % (name, probe))
        status, text = get(server.url + annotations[prefix + "path"])
        result(status == 200 and "# TYPE " in text, "%s: metrics" % name, text[:200])

    run(name, args, args[0], questions)


def check_kubernetes():
    objects = {o["kind"]: o for o in load("deploy/kubernetes/tern.yaml") + load("deploy/kubernetes/hpa.yaml")}
    deployment = objects["Deployment"]
    template = deployment["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    container = pod["containers"][0]
    same(deployment["spec"]["selector"]["matchLabels"], labels, "kubernetes: the Deployment selects its pods")
    same(objects["Service"]["spec"]["selector"], labels, "kubernetes: so does the Service")
    same(objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], labels, "kubernetes: and the budget")
    same(objects["Service"]["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"], "kubernetes: port of the Service")
    same(container["volumeMounts"][0]["mountPath"], container["args"][0], "kubernetes: the models are mounted where they are served")
    same(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"], "kubernetes: the volume")
    check_container("kubernetes", container, pod["terminationGracePeriodSeconds"], template["metadata"]["annotations"],
                    "prometheus.io/")
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    same([target[k] for k in ("apiVersion", "kind", "name")],
         [deployment["apiVersion"], deployment["kind"], deployment["metadata"]["name"]], "autoscaler: what it scales")
    return pod, objects["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]


def check_metric(metric):
    rule = load("deploy/kubernetes/prometheus-adapter.yaml")[0]["rules"]["custom"][0]
    same(rule["name"]["as"], metric, "autoscaler: the adapter's rule gives its metric")
    series = rule["seriesQuery"].split("{")[0]

    def questions(server):
        text = get(server.url + "/metrics")[1]
        result("# TYPE %s gauge\n" % series in text, "autoscaler: the server has the metric, a gauge", text[:500])
        result(re.search(r'^%s\{model="fashion",version="1"\} 0$' % series, text, re.M), "autoscaler: nothing waits, it is 0",
               text[:500])

    run("autoscaler", ["/models", "--drain", "8"], "/models", questions)


def check_kserve():
    runtime, service = load("deploy/kserve/runtime.yaml")[0], load("deploy/kserve/service.yaml")[0]
    container = runtime["spec"]["containers"][0]
    same(container["name"], "kserve-container", "kserve: the container has the name that KServe looks for")
    same(container["args"][0], "/mnt/models", "kserve: and serves the folder that KServe fills")
    model = service["spec"]["predictor"]["model"]
    same(model["runtime"], runtime["metadata"]["name"], "kserve: the service names the runtime")
    result(model["modelFormat"] in [{k: f[k] for k in ("name", "version")} for f in runtime["spec"]["supportedModelFormats"]],
           "kserve: which supports its format", model)
    result(model["protocolVersion"] in runtime["spec"]["protocolVersions"], "kserve: and its protocol", model)
    # KServe leaves Kubernetes' default of 30 seconds.
    check_container("kserve", container, 30, runtime["spec"]["annotations"], "prometheus.kserve.io/")


# ---- the container file ----------------------------------------------------------------------------------------------


def instructions(path):
    """(word, rest) of each, continued lines joined."""
    with open(path) as file:
        text = re.sub(r"\\\n", " ", "".join(line for line in file if not line.startswith("#")))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def packages(text):
    return set(re.search(r"--no-install-recommends(.*?)&&", text).group(1).split())


def check_image(pod):
    steps = instructions("deploy/Containerfile")
    last = {word: rest for word, rest in steps}
    installs = [packages(rest) for word, rest in steps if word == "RUN" and "apt-get install" in rest]
    listed = set(re.findall(r"^(\S+) +\S+:\S+ ", re.search(r'packages_build="(.*?)"', open("do").read(), re.S).group(1), re.M))
    same(sorted(installs[0]), sorted(listed), "image: it is built with the packages of ./do build")
    same(last["USER"], "%d:%d" % (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]),
         "image: its user is the one of the pod")
    entry = yaml.safe_load(last["ENTRYPOINT"])
    same(entry[1:], ["serve"], "image: what it runs")
    health = yaml.safe_load(last["HEALTHCHECK"].split("CMD", 1)[1])
    port = last["EXPOSE"]
    help_text = subprocess.run([TERN, "serve", "--help"], capture_output=True, text=True).stdout
    result("(default: %s)" % port in help_text, "image: it exposes the port of the server", port)
    result("/127.0.0.1/%s " % port in health[2], "image: which the health check asks", health)

    def questions(server):
        command = [part.replace("/%s " % port, "/%s " % server.port) for part in health]
        same(subprocess.run(command, stderr=subprocess.DEVNULL).returncode, 0, "image: the health check of a server that is ready")
        server.terminate()
        time.sleep(0.3)
        result(subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0, "image: of one that drains")

    run("image", yaml.safe_load(last["CMD"]) + ["--drain", "8"], last["VOLUME"], questions)
    check_libraries(installs[1])


def check_libraries(installed):
    name = "image: the libraries that the command needs are in its second stage"
    if not shutil.which("dpkg") or not shutil.which("readelf"):
        return skip(name, "no dpkg or no readelf")
    needed = re.findall(r"NEEDED.*\[(.*)\]", subprocess.run(["readelf", "-d", TERN], capture_output=True, text=True).stdout)
    # Those that are loaded later are named in the command itself.
    needed += [n.decode() for n in re.findall(rb"\0(lib(?:cairo|tiff|microhttpd)\.so\.\d+)\0", open(TERN, "rb").read())]
    # Of the C library, which every image has, and of sanitizers.
    needed = [n for n in needed if not re.match(r"(libc|libm|ld-linux.*|libgcc_s|lib[a-z]+san|libstdc\+\+)\.so", n)]
    owners = {}
    for library in needed:
        found = subprocess.run(["dpkg", "-S", "*/" + library], capture_output=True, text=True).stdout
        owners[library] = {line.split(":")[0] for line in found.splitlines()}
    missing = {k: v for k, v in owners.items() if not v & installed}
    result(needed and not missing, name, missing)


# ---- the unit --------------------------------------------------------------------------------------------------------


def check_unit():
    text = open("deploy/tern.service").read()
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.M))
    command = shlex.split(values["ExecStart"])
    least = float(option(command, "--drain")) + float(option(command, "--exit-timeout"))
    result(float(values["TimeoutStopSec"]) > least, "unit: time to end", least)
    same(values["ReadOnlyPaths"], command[2], "unit: it may read the models")
    run("unit", command[2:], command[2], lambda server: same(get(server.url + "/v2/health/ready")[0], 200, "unit: ready"))
    if not shutil.which("systemd-analyze"):
        return skip("unit: systemd-analyze", "systemd-analyze is not installed")
    copy = os.path.join(SCRATCH, "tern.service")
    with open(copy, "w") as file:
        file.write(text.replace(command[0], os.path.abspath(TERN)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    result(done.returncode == 0 and "tern.service" not in done.stderr, "unit: systemd-analyze verify", done.stderr)
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", copy], capture_output=True, text=True)
    if "unrecognized option" in done.stderr:
        return skip("unit: exposure", "this systemd-analyze judges no files")
    result(done.returncode == 0, "unit: systemd-analyze security: an exposure of 1.5 at most", done.stdout[-300:])


pod_of_kubernetes, metric_name = check_kubernetes()
check_metric(metric_name)
check_kserve()
check_image(pod_of_kubernetes)
check_unit()
check_exits()
print("1..%d" % number)
sys.exit(failed > 0)
