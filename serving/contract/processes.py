"""Child processes that do not outlive who started them."""

import ctypes
import os
import signal
import sys

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int = 0, sign: int = signal.SIGKILL) -> None:
    """Given to Popen as ``preexec_fn``: the kernel sends ``sign`` to the child once the thread that started it is gone.

    ``parent`` is that process's id; with it a parent that died before this call is noticed too. Linux only; elsewhere
    nothing happens, and a child outlives a parent that was killed.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PDEATHSIG, sign)
    if parent and os.getppid() != parent:
        os._exit(1)
