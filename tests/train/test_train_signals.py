"""SIGINT and SIGTERM, each test in a process of its own: what is said, what is raised, and how the process ends."""

import signal
import subprocess
import sys
import time

import pytest
from command_line import ROOT

PREAMBLE = """
import hashlib, signal, sys, time
from train.signals import Signals, StoppedError, answer_at_once

def compile():
    "One step of the main thread, as compiling is: no handler runs before it ends."
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def ready():
    print("ready", flush=True)
"""
DEFERRED = """
with Signals() as signals, signals.deferred():
    ready()
    {}
"""


@pytest.fixture
def script():
    """Starts a script, waits until it is ready, and sends it signals, some seconds after one another."""

    def run(text, *numbers, pause=0.2):
        started = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + text], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert started.stdout.readline() == "ready\n", started.stderr.read()
            for number in numbers:
                started.send_signal(number)
                time.sleep(pause)
            out, err = started.communicate(timeout=30)
        finally:
            started.kill()
        return started.returncode, out, err.splitlines()

    return run


def test_a_first_signal_is_raised_past_whoever_catches_exceptions(script):
    text = """
try:
    with Signals():
        try:
            ready()
            time.sleep(30)
        except Exception:
            print("swallowed")
except StoppedError as stopped:
    print(stopped, stopped.signal_number)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and signal.set_wakeup_fd(-1) == -1
"""
    status, out, err = script(text, signal.SIGTERM)
    assert (status, out) == (0, f"stopped by SIGTERM {signal.SIGTERM:d}\n")
    assert err == ["SIGTERM: stopping; once more to stop at once"]


def test_a_first_signal_is_noted_where_stopping_is_deferred_and_raised_at_the_end(script):
    text = """
try:
    with Signals() as signals:
        with signals.deferred():
            ready()
            while signals.asked() is None:
                time.sleep(0.01)
            print(signals.asked())
        print("went on")
except StoppedError as stopped:
    print(stopped)
"""
    status, out, err = script(text, signal.SIGINT)
    assert (status, out) == (0, f"{signal.SIGINT:d}\nstopped by SIGINT\n")
    assert err == ["SIGINT: stopping after this interval; once more to stop at once"]


@pytest.mark.parametrize("doing", ["compile()", "time.sleep(30)"])
def test_a_second_signal_stops_at_once_with_a_sentence_even_while_a_program_is_compiled(doing, script):
    began = time.monotonic()
    status, _, err = script(DEFERRED.format(doing), signal.SIGTERM, signal.SIGINT)
    assert (status, time.monotonic() - began < 10) == (128 + signal.SIGINT, True)
    assert err == ["SIGTERM: stopping after this interval; once more to stop at once", "stopped at once by SIGINT"]


def test_a_second_signal_stops_at_once_while_the_first_is_being_answered(script):
    text = """
try:
    with Signals():
        try:
            ready()
            time.sleep(30)
        finally:
            time.sleep(30)
except StoppedError:
    pass
"""
    status, _, err = script(text, signal.SIGINT, signal.SIGINT)
    assert (status, err[-1]) == (128 + signal.SIGINT, "stopped at once by SIGINT")


def test_sigterm_twice_within_a_second_is_one_request(script):
    doing = "time.sleep(0.5); print(signals.asked(), flush=True); time.sleep(0.6); compile()"
    status, out, err = script(DEFERRED.format(doing), signal.SIGTERM, signal.SIGTERM, signal.SIGINT, pause=0.3)
    assert (status, out) == (128 + signal.SIGINT, f"{signal.SIGTERM:d}\n")
    assert err[1:] == ["stopped at once by SIGINT"]


def test_before_there_is_anything_to_lose_a_signal_stops_at_once(script):
    status, _, err = script("answer_at_once()\nready()\ntime.sleep(30)", signal.SIGTERM)
    assert (status, err) == (128 + signal.SIGTERM, ["stopped at once by SIGTERM"])


def test_a_launcher_interrupted_while_it_is_imported_says_so(process, here):
    started = process("train", cwd=here)
    caught = 0
    while not caught & (1 << (signal.SIGTERM - 1)) and started.poll() is None:  # until its handler is there
        with open(f"/proc/{started.pid}/status", encoding="utf-8") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err) == (128 + signal.SIGINT, "", "stopped at once by SIGINT\n")
    assert list(here.iterdir()) == []
