#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run one tier of the tests and end with a line "N passed, N failed, N skipped".

    run_tests.py quick   release build, unit and kernel tests, gates: before every commit (3 minutes)
    run_tests.py all     that and sanitizers, consumers, cross builds, half a minute per fuzz target (20 minutes)
    run_tests.py full    that and ThreadSanitizer, valgrind, coverage, the tests of suite "long", longer fuzzing

Builds go to build-test/ in the checkout (LLRT_BUILD_ROOT names another place); further test data comes from
../shared/data (LLRT_TEST_DATA names another place), and tests that lack it are skipped by name. --only NAME runs the
steps whose name contains NAME. Timed programs take a lock that these tests hold shared, so that neither disturbs
the other.
"""
import argparse
import concurrent.futures
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LLRT_BUILD_ROOT", ROOT / "build-test"))
MODEL = ROOT / "examples/models/llrt-demo.gguf"
JOBS = str(os.cpu_count() or 2)
counts = {"passed": 0, "failed": 0, "skipped": 0}
failures = []


def note(kind, name, seconds=None):
    counts[kind] += 1
    took = f"  {seconds:.1f} s" if seconds is not None else ""
    print(f"{kind.upper():8}{name}{took}", flush=True)
    if kind == "failed":
        failures.append(name)


def last_line(text):
    return (text.strip().splitlines() or ["no reason given"])[-1]


def run(name, command, env=None, cwd=ROOT, quiet=True):
    """Runs one command as one test; its output is shown when it fails."""
    start = time.monotonic()
    result = subprocess.run([str(c) for c in command], cwd=cwd, env={**os.environ, **(env or {})},
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace")
    seconds = time.monotonic() - start
    if result.returncode == 77:
        note("skipped", name + ": " + last_line(result.stdout))
    elif result.returncode:
        print(result.stdout[-20000:])
        note("failed", name, seconds)
    else:
        if not quiet:
            print(result.stdout, end="")
        note("passed", name, seconds)
    return result.returncode == 0


def build(name, options, env=None):
    """Configures and builds one directory; its path when that worked, else None."""
    where = BUILD / name
    options = ["-Dwerror=true", *options]
    if os.environ.get("LLRT_TEST_DATA"):
        options.append("-Ddata=" + os.path.abspath(os.environ["LLRT_TEST_DATA"]))
    record = where / "configured-with.json"
    configured = json.dumps([str(ROOT), options])
    if not (where / "build.ninja").exists() or not record.exists() or record.read_text() != configured:
        shutil.rmtree(where, ignore_errors=True)
        if not run(f"{name}: configure", ["meson", "setup", where, ROOT, *options], env):
            return None
        record.write_text(configured)
    return where if run(f"{name}: build", ["ninja", "-C", where, "-k", "0", "-j", JOBS], env) else None


def note_test(name, test):
    """Counts one of Meson's tests; the cases that cmocka skipped in it are named with the reason printed before."""
    kind = {"OK": "passed", "SKIP": "skipped"}.get(test["result"], "failed")
    out = test.get("stdout") or ""
    title = f"{name}: {test['name'].removeprefix('llrt:')}"
    if kind == "failed":
        print(out[-8000:], (test.get("stderr") or "")[-8000:], f"{title}: {test['result']}", sep="\n")
    if kind == "skipped":
        title += ": " + last_line(out)
    skips = re.findall(r"^(?!\[)(.*)\n\[  SKIPPED \] (\w+)$", out, re.M) if kind == "passed" else []
    if not skips or "[       OK ]" in out:
        note(kind, title, test["duration"])
    for reason, case in skips:
        note("skipped", f"{title}, {case}: {reason.removeprefix('skipped: ')}")


def meson_tests(name, where, suites=(), env=None, exclude=(), timeout_multiplier=1):
    """Runs Meson's tests of one build directory and counts each of them."""
    command = ["meson", "test", "-C", where, "--no-rebuild", "--num-processes", JOBS, "--timeout-multiplier",
               timeout_multiplier]
    for suite in suites:
        command += ["--suite", suite]
    for suite in exclude:
        command += ["--no-suite", suite]
    log = where / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    subprocess.run([str(c) for c in command], cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        note_test(name, json.loads(line))
    if not lines:
        note("failed", f"{name}: no test ran")


def gates(where):
    tools = ROOT / "test/tools"
    run("gate: include direction and names", [tools / "check_includes.py"])
    run("gate: sizes", [tools / "check_size.py"])
    run("gate: banned calls and paths", [tools / "check_banned.py", where / "libllrt.a"])
    run("gate: exported symbols and library size", [tools / "check_symbols.py", where])
    run("gate: headers and documented programs", ["sh", tools / "check_headers.sh"])
    files = [f for top in ("include", "lib", "backends", "examples", "test")
             for f in sorted((ROOT / top).rglob("*.[ch]"))]
    run("gate: clang-format", ["clang-format", "--dry-run", "--Werror", *files])


def release_build():
    """The build that most steps use: gcc, release, every program, installed below BUILD/prefix by step_consumer."""
    return build("gcc-release", [f"--prefix={BUILD / 'prefix'}", "--libdir=lib"], {"CC": "gcc"})


def debug_build():
    return build("gcc-debug", ["-Dbuildtype=debug"], {"CC": "gcc"})


def step_release(tier):
    where = release_build()
    if where:
        meson_tests("gcc-release", where, exclude=() if tier == "full" else ("long",))
        gates(where)


def step_programs(tier):
    where = BUILD / "gcc-release"
    program = where / "examples/llrt"
    run("program contract", [ROOT / "test/tools/check_program.py", program])
    run("demo", ["sh", ROOT / "examples/demo.sh", "Once upon a time"], {"LLRT_BUILD": str(where)})


def step_sanitizers(tier):
    env = {"CC": "clang", "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
           "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
    where = build("clang-asan", ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dbuildtype=debugoptimized",
                                 "-Dcli=disabled"], env)
    if where:
        # "heavy" tests repeat in many settings what others run once: with sanitizers before a release only.
        exclude = ("long", "peer") if tier == "full" else ("long", "peer", "heavy")
        meson_tests("clang-asan", where, env=env, exclude=exclude, timeout_multiplier=4)


def step_debug(tier):
    where = debug_build()
    if where and tier == "full":
        meson_tests("gcc-debug", where, exclude=("long",), timeout_multiplier=6)


def step_consumer(tier):
    where = release_build()
    prefix = BUILD / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)
    if where and run("install", ["meson", "install", "-C", where, "--no-rebuild", "--quiet"]):
        for kind in ("pkg-config", "cmake", "readme", "examples"):
            run(f"consumers of the installed library: {kind}",
                ["sh", ROOT / "test/consumer/build.sh", kind, prefix, BUILD / "consumer", MODEL])
        run("installed program", [prefix / "bin/llrt", "run", MODEL, "Once upon a time", "-n", "16", "--temp", "0"],
            {"LD_LIBRARY_PATH": str(prefix / "lib")})


def step_old_cpu(tier):
    """Emulated processors trap on instructions they lack, wherever dispatch should have kept them from running.
    With portable arithmetic they also have to tell the story this machine tells."""
    where = release_build()
    if not where:
        return
    story = [where / "examples/llrt", "run", MODEL, "Once upon a time", "-n", "12", "--temp", "0", "--precision", "portable"]
    told = subprocess.run([str(c) for c in story], capture_output=True, text=True).stdout
    for cpu in ("Nehalem", "Haswell"):
        run(f"{cpu}: the same story", [sys.executable, "-c",
                                       "import subprocess, sys\n"
                                       "r = subprocess.run(sys.argv[2:], capture_output=True, text=True)\n"
                                       "print(r.stdout, r.stderr)\n"
                                       "sys.exit(r.returncode or not r.stdout or r.stdout != sys.argv[1])",
                                       told, "qemu-x86_64", "-cpu", cpu, *story])


def step_aarch64(tier):
    sysroot = BUILD / "sysroot-arm64"
    if not run("aarch64: fetch libraries", ["sh", ROOT / "test/tools/fetch_cross.sh", "arm64", sysroot]):
        return
    cross = BUILD / "aarch64.ini"
    flags = f"['-isystem', '{sysroot}/usr/include']"
    links = f"['-L{sysroot}/usr/lib/aarch64-linux-gnu', '-Wl,-rpath-link,{sysroot}/usr/lib/aarch64-linux-gnu']"
    cross.write_text(f"""[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu', '-E', 'LD_LIBRARY_PATH={sysroot}/usr/lib/aarch64-linux-gnu']
[built-in options]
c_args = {flags}
c_link_args = {links}
[properties]
sys_root = '{sysroot}'
pkg_config_libdir = '{sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
""")
    where = build("aarch64", ["--cross-file", str(cross), "-Dcli=disabled"])
    if where:
        meson_tests("aarch64", where, suites=() if tier == "full" else ("kernels", "cross"), exclude=("long",),
                    timeout_multiplier=10)


def step_windows(tier):
    cache = ROOT / "subprojects/packagecache"
    if not run("windows: fetch utf8proc", ["sh", ROOT / "test/tools/fetch_cross.sh", "utf8proc", cache]):
        return
    cross = BUILD / "mingw.ini"
    cross.write_text("""[binaries]
c = 'x86_64-w64-mingw32-gcc'
ar = 'x86_64-w64-mingw32-ar'
strip = 'x86_64-w64-mingw32-strip'
windres = 'x86_64-w64-mingw32-windres'
[host_machine]
system = 'windows'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
""")
    build("windows", ["--cross-file", str(cross), "-Dtests=disabled", "-Dcli=disabled"])


def fuzz_targets(where):
    return sorted(p for p in (where / "test/fuzz").glob("fuzz_*") if p.is_file() and os.access(p, os.X_OK))


def step_fuzz(tier):
    where = build("fuzz", ["-Dfuzz=true", "-Dtests=disabled", "-Dcli=disabled", "-Dbuildtype=debugoptimized",
                           "-Db_lundef=false"], {"CC": "clang"})
    if not where:
        return
    seconds = {"all": 30, "full": 600}[tier]

    def fuzz(target):
        seeds = where / "test/fuzz/corpus" / target.name.removeprefix("fuzz_")
        found = BUILD / "fuzz-found" / target.name
        found.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            run(f"{target.name}, {seconds} s", [target, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048",
                                                "-verbosity=0", f"-artifact_prefix={found}/", work, seeds],
                {"ASAN_OPTIONS": "allocator_may_return_null=1"})

    with concurrent.futures.ThreadPoolExecutor(int(JOBS)) as pool:
        list(pool.map(fuzz, fuzz_targets(where)))


def step_fuzz_coverage(tier):
    run("coverage of the parsers from the seeds", [sys.executable, ROOT / "test/tools/fuzz_coverage.py",
                                                   BUILD / "fuzz-coverage"], quiet=False)


def step_abi(tier):
    where = debug_build()
    if where:
        run("abidiff against the committed dump", ["sh", ROOT / "test/tools/check_abi.sh", where / "libllrt.so"])


def step_thread_sanitizer(tier):
    env = {"CC": "clang", "TSAN_OPTIONS": "halt_on_error=1"}
    where = build("clang-tsan", ["-Db_sanitize=thread", "-Db_lundef=false", "-Dbuildtype=debugoptimized", "-Dcli=disabled"],
                  env)
    if where:
        meson_tests("clang-tsan", where, suites=("threads",), env=env, timeout_multiplier=10)


def step_valgrind(tier):
    where = debug_build()
    if where:
        run("valgrind: the minimal program", ["valgrind", "-q", "--error-exitcode=1", "--leak-check=full",
                                              where / "examples/minimal", MODEL, "Once"])


def step_coverage(tier):
    where = build("coverage", ["-Db_coverage=true", "-Dbuildtype=debug", "-Dcli=disabled"], {"CC": "gcc"})
    if where:
        meson_tests("coverage", where, exclude=("long",), timeout_multiplier=6)
        run("coverage of lib/", ["gcovr", "--root", ROOT, "--filter", "lib/", "--object-directory", where,
                                 "--print-summary"], quiet=False)


STEPS = {
    "release": (step_release, "quick all full"),
    "programs": (step_programs, "quick all full"),
    "consumer": (step_consumer, "all full"),
    "old-cpu": (step_old_cpu, "all full"),
    "sanitizers": (step_sanitizers, "all full"),
    "debug": (step_debug, "all full"),
    "abi": (step_abi, "all full"),
    "aarch64": (step_aarch64, "all full"),
    "windows": (step_windows, "all full"),
    "fuzz": (step_fuzz, "all full"),
    "seeds": (step_fuzz_coverage, "full"),
    "threads": (step_thread_sanitizer, "full"),
    "valgrind": (step_valgrind, "full"),
    "coverage": (step_coverage, "full"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tier", choices=("quick", "all", "full"))
    parser.add_argument("--only", default="", help="run only the steps whose name contains this")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    lock = open(os.path.join(tempfile.gettempdir(), "llrt-bench.lock"), "a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    for name, (step, tiers) in STEPS.items():
        if options.tier in tiers.split() and options.only in name:
            begin = time.monotonic()
            step(options.tier)
            print(f"-- {name}: {time.monotonic() - begin:.0f} s", flush=True)
    print(f"\n{options.tier}: {time.monotonic() - start:.0f} s")
    for name in failures:
        print(f"failed: {name}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
