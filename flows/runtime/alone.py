"""One run of an experiment at a time on a store: a second one would make the same steps, and MLflow's runs twice.

The kernel's lock on a file says who is at work. It goes with the process that holds it, however that ends, so that
nothing has to be cleaned up after a run that was killed.
"""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator

from configs.base import UserError
from configs.experiment import Experiment

_FILE = "running"
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EINVAL}
"""What a file system says that has no locks: there everybody goes on, as no run can know of another."""


@contextlib.contextmanager
def alone(experiment: Experiment) -> Iterator[None]:
    """Nobody else runs an experiment of that name on that store inside the block.

    Raises:
        UserError: somebody does. Nothing of his is touched.
    """
    file = experiment.results / _FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.seek(0)
            who = held.read().strip() or "another process"
            raise UserError(
                f"name: {experiment.name} already runs on this store ({who:.100}); wait for it to end, or give this "
                "one another name or storage.root"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        held.truncate(0)
        held.write(f"process {os.getpid()} on {socket.gethostname()}")
        held.flush()
        yield
