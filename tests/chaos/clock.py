"""A wall clock that a test can set, for one portal alone: a small library that libc's own clock is asked through.

Only the clock of the wall moves; the monotonic one goes on, as when somebody sets a machine's clock.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long long nothing = 0, *moved = &nothing;

__attribute__((constructor)) static void open_clock(void) {
    const char *name = getenv("CHAOS_CLOCK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) moved = found;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *moved;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now) *now = found.tv_sec;
    return found.tv_sec;
}
"""


@dataclass(frozen=True, slots=True)
class Clock:
    """`environment` is for the processes whose clock it is."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> "Clock | None":
        """None where there is no C compiler, or no Linux."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return None
        clock = cls(folder)
        (folder / "clock.c").write_text(SOURCE)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(folder / "clock.so"), str(folder / "clock.c"), "-ldl"]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return None
        clock.move(0)
        return clock

    @property
    def environment(self) -> dict[str, str]:
        """So that a process asks this clock."""
        return {"LD_PRELOAD": str(self.folder / "clock.so"), "CHAOS_CLOCK": str(self.folder / "clock")}

    def move(self, seconds: int) -> None:
        """So far it is from the machine's clock from now on; negative is back."""
        with (self.folder / "clock").open("r+b" if (self.folder / "clock").exists() else "wb") as file:
            file.write(struct.pack("q", seconds))
