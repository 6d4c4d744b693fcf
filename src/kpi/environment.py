"""Variables of the environment that a project asks for: their values may be secret, so none is written down.

What is kept of one is a hash, keyed with a salt of the warehouse that only its owner can read: a short password could
be found by trying, were it hashed by itself. In SQL that is kept, a value is replaced by the `env_var()` it came from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

SECRET = "DBT_ENV_SECRET"  # dbt's own prefix: such a variable may stand in profiles.yml, and never in what is built
SALT = ".salt"
_SALT_BYTES = 32
LEAST = 4  # characters of a value that is looked for: `1` and `dev` stand in any text, and are no secret
_read: dict[str, str] = {}  # from each form of a value to the name of its variable


class Default(str):
    """What a template itself gives for a variable that is not set."""


def is_as_read(values: Mapping[str, str]) -> bool:
    """Tell whether the environment still gives what was read, by name."""
    return all(
        os.environ.get(name) == (None if isinstance(value, Default) else value) for name, value in values.items()
    )


def note_read(name: str, value: str) -> None:
    """Remember that a template was given this value, for as long as the process lives, and how it may be written."""
    forms = {value, value.strip(), value.lower(), value.upper(), value.title()}
    forms |= {form.replace("'", other) for form in (*forms,) for other in ("''", "")}
    forms |= {json.dumps(form, ensure_ascii=is_ascii)[1:-1] for form in (*forms,) for is_ascii in (True, False)}
    _read.update({form: name for form in forms if len(form) >= LEAST})


def hidden_values(text: str) -> str:
    """Return SQL, or an error that quotes it, with every value replaced by the env_var() that gave it."""
    for value, name in _longest_first():
        text = text.replace(value, f"{{{{ env_var('{name}') }}}}")
    return hidden_secrets(text)


def hashed_values(text: str, root: Path) -> str:
    """Return a text with every value replaced by its name and hash, so that it changes when the value does."""
    for value, name in _longest_first():
        if value in text:
            text = text.replace(value, f"{{{{ env_var('{name}') }}}}#{digest(value, root)}")
    return text


def hidden_secrets(text: str) -> str:
    """Return a text with the values of secret variables, read or not, replaced by stars, as dbt does."""
    for value in secret_values():
        text = text.replace(value, "*****")
    return text


def secret_values() -> list[str]:
    """Return the values of secret variables, whoever asks for them."""
    names = [name for name in os.environ if name.startswith(SECRET)]  # a message asks, and values are dear to read
    return [os.environ[name] for name in names if os.environ[name].strip()]


def is_anything_hidden() -> bool:
    """Tell whether there is any value to hide: most projects ask for none."""
    return bool(_read or secret_values())


def holds_value(content: bytes) -> bool:
    """Tell whether a value of a variable that was read stands in some bytes."""
    return any(value.encode("utf-8", "surrogateescape") in content for value in _read)


def digest(value: str | None, root: Path) -> str:
    """Return the hash of a value, None when the variable is not set, that only this warehouse's owner can repeat."""
    key = _salt(root / "warehouse")
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=16, key=key).hexdigest()


def environment_of(names: Iterable[str], root: Path) -> dict[str, str]:
    """Return a hash of the value of each of these variables of the environment, as they are now."""
    return {name: digest(os.environ.get(name), root) for name in sorted(names)}


def _longest_first() -> list[tuple[str, str]]:
    # One value may be a part of another, as a user's name of an address.
    return sorted(_read.items(), key=lambda item: (-len(item[0]), item[0]))


@cache
def _salt(warehouse: Path) -> bytes:
    """The salt of a warehouse, made when it is first needed; one of this process alone where it cannot be kept or read.

    Without it, a variable counts as changed: what was made with it is made again. One that is cut short is replaced.
    """
    path = warehouse / SALT
    made = os.urandom(_SALT_BYTES)
    with suppress(OSError):
        salt = path.read_bytes() if path.is_file() else b""
        if len(salt) == _SALT_BYTES:
            return salt
        if not path.exists() or path.is_file():
            _write_salt(path, made, replaces=path.exists())
        if len(salt := path.read_bytes()) == _SALT_BYTES:  # that of another process, which was quicker
            return salt
    return made


def _write_salt(path: Path, salt: bytes, replaces: bool) -> None:
    """Give a salt its name once it is whole: half of one would be none for ever. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f"{SALT}-{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(salt)
        if replaces:
            os.replace(new, path)
        else:
            with suppress(FileExistsError):
                os.link(new, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)
