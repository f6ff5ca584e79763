# SPDX-License-Identifier: LGPL-2.1-or-later
"""org.vbmq1 against libvirt's test driver: every method's happy and unhappy path, who may, settings, signals, life and death."""

import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ET

import dbus
import pytest

from conftest import PROGRAM, UUID
from vbmqtest.bus import Bus
from vbmqtest.daemon import CallError
from vbmqtest.proc import SCALE, wait_for

DATA = os.environ["VBMQ_TEST_DAEMON_DATA"]
NOBODY = 65534


def refused(name):
    class Check:
        def __enter__(self):
            return self

        def __exit__(self, kind, error, _):
            assert kind is CallError, f"not refused with {name}"
            assert error.name == name, f"{error.name}: {error}"
            self.text = str(error)
            return True

    return Check()


# --- the API -------------------------------------------------------------------------------------------------------------


def interfaces(node):
    """{interface: {(kind, name, signature...)}} without the standard interfaces."""
    result = {}
    for interface in node.iter("interface"):
        if interface.get("name").startswith("org.freedesktop."):
            continue
        members = set()
        for m in interface:
            args = tuple((a.get("name"), a.get("type"), a.get("direction", "out")) for a in m.findall("arg"))
            notes = tuple(sorted((a.get("name"), a.get("value")) for a in m.findall("annotation")))
            members.add((m.tag, m.get("name"), m.get("type"), m.get("access"), args, notes))
        result[interface.get("name")] = members
    return result


def introspect(vbmqd, path):
    return ET.fromstring(vbmqd.call("Introspect", interface="org.freedesktop.DBus.Introspectable", path=path))


def test_introspection_is_the_shipped_one(vbmqd):
    shipped = interfaces(ET.parse(f"{DATA}/org.vbmq1.xml"))
    real = interfaces(introspect(vbmqd, "/org/vbmq1"))
    real.update(interfaces(introspect(vbmqd, "/org/vbmq1/domain/" + UUID.format(0).replace("-", "_"))))
    assert real == shipped
    children = {n.get("name") for n in introspect(vbmqd, "/org/vbmq1/domain").findall("node")}
    assert children == {UUID.format(i).replace("-", "_") for i in (0, 1)}


def test_manager_properties(vbmqd):
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    assert vbmqd.get("Version") == version
    assert vbmqd.get("Mode") == "manage"
    assert vbmqd.get("State") == "idle"
    assert vbmqd.get("Connected") == 1
    assert vbmqd.get("Paused") == 0
    assert len(vbmqd.get("LastPlanId")) == 32


def test_domain_properties(vbmqd):
    def get(i, name):
        return vbmqd.get(name, "org.vbmq1.Domain", "/org/vbmq1/domain/" + UUID.format(i).replace("-", "_"))

    assert get(0, "Name") == "alpha"
    assert get(0, "Uuid") == UUID.format(0)
    assert get(0, "State") == "clean"
    assert get(0, "Capability") == "pin-poll"
    assert get(0, "Managed") == 1
    assert get(0, "Priority") == 0
    assert get(0, "Error") == ""
    assert get(1, "Name") == "beta"
    assert get(1, "Managed") == 0
    with refused("UnknownObject"):
        vbmqd.get("Name", "org.vbmq1.Domain", "/org/vbmq1/domain/" + UUID.format(7).replace("-", "_"))


def test_list_domains(vbmqd):
    assert vbmqd.domains() == {"alpha": (UUID.format(0), "pin-poll", "clean"),
                               "beta": (UUID.format(1), "pin-poll", "clean")}


# --- documents -----------------------------------------------------------------------------------------------------------


def test_snapshot(vbmqd):
    s = vbmqd.snapshot()
    assert s["schema"] == "vbmq-snapshot/1"
    assert [d["name"] for d in s["domains"]] == ["alpha", "beta"]
    assert "policy" in s


def test_plan_newest_and_fresh_agree(vbmqd):
    newest_id, newest = vbmqd.plan()
    fresh_id, fresh = vbmqd.fresh_plan()
    assert newest["schema"] == "vbmq-plan/1"
    assert newest_id == newest["plan_id"] == vbmqd.get("LastPlanId")
    assert (fresh_id, fresh) == (newest_id, newest)
    assert [d["name"] for d in newest["domains"]] == ["alpha", "beta"]


def test_document_is_sealed(vbmqd):
    import fcntl
    fd = vbmqd.call("GetSnapshot").take()
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
    finally:
        os.close(fd)


def test_plan_refuses_unknown_options(vbmqd):
    with refused("InvalidArgs") as r:
        vbmqd.call("Plan", dbus.Dictionary({"colour": "blue"}, signature="sv"))
    assert "colour" in r.text


def test_explain(vbmqd):
    assert vbmqd.explain("")["schema"] == "vbmq-explain/1"
    assert "beta" not in json.dumps(vbmqd.explain("alpha"))
    assert "alpha" in json.dumps(vbmqd.explain(UUID.format(0)))
    with refused("NoSuchDomain") as r:
        vbmqd.explain("gamma")
    assert "gamma" in r.text


def test_verify_and_report(vbmqd):
    verified = vbmqd.verify()
    assert verified["schema"] == "vbmq-report/1"
    assert vbmqd.report() == verified


def test_apply(vbmqd):
    plan_id, _ = vbmqd.plan()
    report = vbmqd.apply(plan_id)
    assert report["schema"] == "vbmq-report/1"
    assert report["plan_id"] == plan_id
    assert vbmqd.apply("")["schema"] == "vbmq-report/1"


def test_apply_refuses_a_stale_plan(vbmqd):
    with refused("StalePlan"):
        vbmqd.apply("0" * 32)
    with refused("InvalidArgs"):
        vbmqd.apply("123")
    with refused("InvalidArgs"):
        vbmqd.apply("", dry_run="perhaps")
    with refused("InvalidArgs"):
        vbmqd.apply("", force=True)


def test_apply_dry_run(vbmqd):
    report = vbmqd.apply("", dry_run=True)
    assert report["dry_run"] is True


def test_restore_pauses(vbmqd):
    assert vbmqd.restore("")["schema"] == "vbmq-report/1"
    assert vbmqd.get("Paused") == 1
    with refused("Paused"):
        vbmqd.apply("")
    vbmqd.call("Resume")
    vbmqd.wait_state("idle")
    vbmqd.apply("")
    assert vbmqd.restore("alpha")["schema"] == "vbmq-report/1"
    with refused("NoSuchDomain"):
        vbmqd.restore("gamma")


def test_pause_and_resume(vbmqd):
    vbmqd.call("Pause")
    vbmqd.wait_state("paused")
    vbmqd.call("Pause")
    with refused("Paused"):
        vbmqd.apply("")
    assert vbmqd.apply("", dry_run=True)["dry_run"] is True
    assert vbmqd.fresh_plan()[0]
    vbmqd.call("Resume")
    vbmqd.call("Resume")
    vbmqd.wait_state("idle")


CROWD = """
import json, sys
import dbus, dbus.bus
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
bus, count, loop, answers = dbus.bus.BusConnection(sys.argv[1], mainloop=DBusGMainLoop()), int(sys.argv[2]), GLib.MainLoop(), []
def answered(text):
    answers.append(text)
    if len(answers) == count:
        loop.quit()
vbmqd = bus.get_object("org.vbmq1", "/org/vbmq1", introspect=False)
for _ in range(count):
    vbmqd.Verify(dbus_interface="org.vbmq1.Manager", reply_handler=lambda *_: answered("ok"),
                 error_handler=lambda e: answered(e.get_dbus_name() + ": " + e.get_dbus_message()))
loop.run()
print(json.dumps(answers))
"""


def test_busy_when_too_many_wait(vbmqd):
    """More calls at once than may wait: the rest is refused, and life goes on."""
    done = subprocess.run(["/usr/bin/python3", "-c", CROWD, vbmqd.bus.address, "100"], capture_output=True, text=True,
                          timeout=120 * SCALE, check=True)
    answers = json.loads(done.stdout)
    refused_ = [a for a in answers if a != "ok"]
    assert len(answers) == 100 and answers.count("ok") >= 64, answers
    assert refused_ and all("Error.Busy" in a and "waiting already" in a for a in refused_), answers
    assert isinstance(vbmqd.verify()["checks"], list)


# --- who may -------------------------------------------------------------------------------------------------------------


GUARDED = {
    "Apply": ("org.vbmq1.apply", ("sa{sv}", "", {})),
    "Restore": ("org.vbmq1.apply", ("s", "")),
    "Pause": ("org.vbmq1.manage", ()),
    "Resume": ("org.vbmq1.manage", ()),
    "Reload": ("org.vbmq1.manage", ()),
}


CALLER = """
import dbus, dbus.bus, json, sys
m = dbus.bus.BusConnection(sys.argv[1]).get_object("org.vbmq1", "/org/vbmq1", introspect=False)
try:
    m.get_dbus_method(sys.argv[2], "org.vbmq1.Manager")(*json.loads(sys.argv[4]), signature=sys.argv[3])
except dbus.DBusException as e:
    sys.exit(f"{e.get_dbus_name()}: {e.get_dbus_message()}")
"""


def as_nobody(bus, method, signature="", *args):
    """A call by an ordinary user. busctl would hide the text of AccessDenied."""
    return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", "/usr/bin/python3",
                           "-c", CALLER, bus.address, method, signature, json.dumps(args)],
                          capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("method", GUARDED)
def test_without_polkit_only_root_may(vbmqd, method):
    done = as_nobody(vbmqd.bus, method, *GUARDED[method][1])
    assert done.returncode != 0
    assert "only root" in done.stderr
    assert vbmqd.get("Paused") == 0


def test_everybody_may_read(vbmqd):
    for method in ("GetSnapshot", "GetPlan", "GetReport", "ListDomains", "Verify"):
        done = as_nobody(vbmqd.bus, method)
        assert done.returncode == 0, done.stderr
    assert as_nobody(vbmqd.bus, "Explain", "s", "").returncode == 0
    assert as_nobody(vbmqd.bus, "Plan", "a{sv}", {}).returncode == 0


@pytest.mark.parametrize("method", GUARDED)
def test_polkit_decides(vbmqd, method):
    action, args = GUARDED[method]
    vbmqd.bus.start_polkit()
    done = as_nobody(vbmqd.bus, method, *args)
    assert done.returncode != 0
    assert "polkit says no" in done.stderr
    vbmqd.bus.allow("org.vbmq1.manage" if action == "org.vbmq1.apply" else "org.vbmq1.apply")
    assert as_nobody(vbmqd.bus, method, *args).returncode != 0
    vbmqd.bus.allow(action)
    done = as_nobody(vbmqd.bus, method, *args)
    assert done.returncode == 0, done.stderr


def test_a_slow_polkit_stalls_nobody(vbmqd):
    vbmqd.bus.start_polkit()
    vbmqd.bus.busctl("call", "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
                     "org.freedesktop.DBus.Mock", "SimulateHang", "b", "true")
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "--", "busctl", f"--address={vbmqd.bus.address}", "call",
               "org.vbmq1", "/org/vbmq1", "org.vbmq1.Manager", "Pause"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as waiting:
        begin = time.monotonic()
        assert vbmqd.verify()
        assert time.monotonic() - begin < 5
        assert waiting.poll() is None
        assert vbmqd.end() == 0
        waiting.kill()


def test_bus_policy_lets_only_root_own_the_name():
    with Bus(include=f"{DATA}/org.vbmq1.conf") as bus:
        done = bus.busctl("call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
                          "su", "org.vbmq1", "0", uid=0)
        assert done.returncode == 0, done.stderr
    policy = ET.parse(f"{DATA}/org.vbmq1.conf")
    assert [p.get("user") for p in policy.iter("policy") if p.find("allow[@own]") is not None] == ["root"]


def test_polkit_actions_are_those_asked_for():
    actions = {a.get("id"): a for a in ET.parse(f"{DATA}/org.vbmq1.policy").iter("action")}
    assert set(actions) == {a for a, _ in GUARDED.values()}
    for action in actions.values():
        assert {d.text for d in action.find("defaults")} == {"auth_admin_keep"}


# --- settings ------------------------------------------------------------------------------------------------------------


def test_reload(vbmqd):
    vbmqd.write_conf("[daemon]\nmode=observe\n")
    vbmqd.call("Reload")
    assert vbmqd.get("Mode") == "observe"


def test_reload_with_a_bad_file_keeps_what_is(vbmqd):
    vbmqd.write_conf("[daemon]\n\nmode=perhaps\n")
    with refused("InvalidArgs") as r:
        vbmqd.call("Reload")
    assert f"{vbmqd.conf}:3:" in r.text
    assert vbmqd.get("Mode") == "manage"
    assert vbmqd.verify()


def test_hup_reloads(vbmqd):
    vbmqd.write_conf("[daemon]\nmode=observe\n")
    vbmqd.process.send_signal(signal.SIGHUP)
    wait_for(lambda: vbmqd.get("Mode") == "observe", 10, "the new mode")
    vbmqd.write_conf("[nonsense]\n")
    vbmqd.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "keeping the settings" in vbmqd.log, 10, "the complaint")
    assert vbmqd.get("Mode") == "observe"


def test_dropins_are_read_in_order(make, world):
    daemon = make(uri=world.uri, conf="[daemon]\nmode=manage\n")
    for name, mode in (("90-last.conf", "observe"), ("10-first.conf", "manage"), ("99-not-ours.txt", "nonsense")):
        with open(f"{daemon.conf}.d/{name}", "w", encoding="ascii") as f:
            f.write(f"[daemon]\nmode={mode}\n")
    daemon.start()
    assert daemon.get("Mode") == "observe"


def test_bad_settings_at_start(make, world):
    daemon = make(uri=world.uri, conf="[daemon]\nworkers=0\n").start(wait=False)
    assert daemon.process.wait(20) == 1
    assert f"{daemon.conf}:2:" in daemon.log


def test_reload_with_another_uri_reconnects(make, world):
    daemon = make(conf=f"[daemon]\nuri={world.uri}\n").start()
    daemon.wait_verdict("ok", "drift", "infeasible")
    daemon.write_conf("[daemon]\nuri=test:///default\n")
    daemon.call("Reload")
    wait_for(lambda: set(daemon.domains()) == {"test"}, 20, "the other connection's domain")


def test_usage():
    for args in (["--nonsense"], ["extra"], ["--config"]):
        assert subprocess.run([PROGRAM, *args], capture_output=True, check=False).returncode == 2
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert "--dry-run" in done.stdout


# --- modes, signals, life ------------------------------------------------------------------------------------------------


def test_dry_run_mode(make, world):
    daemon = make(uri=world.uri, args=["--dry-run"]).start()
    daemon.wait_verdict("ok", "drift", "infeasible")
    assert daemon.get("Mode") == "dry-run"
    assert daemon.apply("")["dry_run"] is True
    assert daemon.restore("")["dry_run"] is True
    assert daemon.get("Paused") == 0
    assert not os.path.exists(daemon.undo_path)


def test_signals(vbmqd):
    with subprocess.Popen(["busctl", f"--address={vbmqd.bus.address}", "monitor", "org.vbmq1", "--json=short"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as monitor:
        wait_for(lambda: vbmqd.call("Pause") is None and vbmqd.call("Resume") is None, 5, "some traffic")
        lines, end = [], time.monotonic() + 10
        os.set_blocking(monitor.stdout.fileno(), False)
        while time.monotonic() < end and not any("PropertiesChanged" in line and '"Paused"' in line for line in lines):
            vbmqd.call("Pause")
            vbmqd.call("Resume")
            time.sleep(0.2)
            lines += monitor.stdout.readlines()
        monitor.kill()
    assert any("PropertiesChanged" in line and '"Paused"' in line for line in lines)


def test_only_one_daemon(vbmqd, make, world):
    second = make(uri=world.uri).start(wait=False)
    assert second.process.wait(20) == 1
    assert "running already" in second.log
    assert vbmqd.verify()


def test_term_ends_quickly(vbmqd):
    begin = time.monotonic()
    assert vbmqd.end(signal.SIGTERM) == 0
    assert time.monotonic() - begin < 2


def test_int_ends(vbmqd):
    assert vbmqd.end(signal.SIGINT) == 0


def test_kill_and_restart(vbmqd):
    before = vbmqd.plan()
    assert vbmqd.end(signal.SIGKILL) == -signal.SIGKILL
    wait_for(lambda: not vbmqd.bus.owner("org.vbmq1"), 10, "the name to be free")
    vbmqd.start()
    vbmqd.wait_verdict("ok", "drift", "infeasible")
    assert vbmqd.plan() == before


def test_damaged_undo_record_stops_the_start(make, world):
    daemon = make(uri=world.uri)
    os.mkdir(daemon.run_dir)
    with open(daemon.undo_path, "w", encoding="ascii") as f:
        f.write('{"schema":"vbmq-undo/1","entr')
    daemon.start(wait=False)
    assert daemon.process.wait(20) == 1
    assert daemon.undo_path in daemon.log


def test_without_libvirt(make, tmp_path):
    daemon = make(uri=f"qemu+unix:///system?socket={tmp_path}/nobody").start()
    daemon.wait_state("disconnected")
    assert daemon.get("Connected") == 0
    for call in (daemon.snapshot, daemon.plan, daemon.fresh_plan, daemon.verify, daemon.apply, daemon.restore,
                 daemon.report, daemon.explain):
        with refused("NotConnected"):
            call()
    assert daemon.domains() == {}
    assert daemon.end() == 0


def test_the_bus_goes_and_comes_back(vbmqd):
    vbmqd.bus.kill()
    vbmqd._connection = None
    time.sleep(0.2)
    assert vbmqd.process.poll() is None
    vbmqd.bus.start()
    wait_for(lambda: vbmqd.bus.owner("org.vbmq1"), 20, "vbmqd to come back to the bus")
    assert vbmqd.verify()


def test_notify(make, world, tmp_path):
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(f"{tmp_path}/notify")
        s.settimeout(10)
        daemon = make(uri=world.uri).start(env={"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "2000000"})
        daemon.process.send_signal(signal.SIGHUP)
        seen = []

        def until(word):
            while not any(word in m for m in seen):
                seen.append(s.recv(65536).decode())

        until("READY=1")
        until("WATCHDOG=1")
        until("RELOADING=1")
        until("verdict: ")
        daemon.process.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert daemon.process.wait(10) == 0
