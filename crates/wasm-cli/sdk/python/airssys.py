"""Components for airssys-wasm in Python.

A component is a class that derives from `Component`; `export` makes of it what the contract
asks for, under a name that has to be this one:

    ComponentLifecycle = export(Greeter)

Payloads are `str` or `bytes`. What a function of the host refuses is raised as a `HostError`.
Whatever `handle` raises is told to whoever sent the message, and the component goes on.
"""

import json as _json
from typing import Callable, Iterable, Optional, Union

from componentize_py_types import Err
from wit_world.exports.component_lifecycle import ComponentMetadata
from wit_world.imports import errors as _errors
from wit_world.imports import host_messaging as _messaging
from wit_world.imports import host_services as _services
from wit_world.imports import storage as _storage
from wit_world.imports.types import ComponentId, HealthStatus, LogLevel

__all__ = [
    "Answer", "Component", "Config", "HealthStatus", "HostError", "Message", "Payload",
    "broadcast", "cancel", "components", "export", "log", "now", "own_id", "request", "send", "sleep",
    "storage",
]

Payload = Union[str, bytes, bytearray, memoryview]

_MESSAGING_ERROR = "application/vnd.airssys.messaging-error"


#: What the cases of the contract mean.
_REFUSALS = {
    _errors.MessagingError_DeliveryFailed: "delivery failed: {}",
    _errors.MessagingError_CorrelationTimeout: "request {} was not answered in time",
    _errors.MessagingError_InvalidMessage: "invalid message: {}",
    _errors.MessagingError_QueueFull: "queue full",
    _errors.MessagingError_TargetNotFound: "no component {}",
    _errors.StorageError_NotFound: "{} is not in the store",
    _errors.StorageError_AlreadyExists: "{} is already in the store",
    _errors.StorageError_QuotaExceeded: "quota exceeded",
    _errors.StorageError_InvalidKey: "invalid key: {}",
    _errors.StorageError_IoError: "storage failed: {}",
}


class HostError(Exception):
    """What the host refused; `error` is the value of the contract."""

    def __init__(self, error):
        said = getattr(error, "value", None)
        if isinstance(said, ComponentId):
            said = _id_text(said)
        super().__init__(_REFUSALS[type(error)].format(said))
        self.error = error


def _ask(function, *arguments):
    try:
        return function(*arguments)
    except Err as refused:
        raise HostError(refused.value) from None


def _bytes(payload: Payload) -> bytes:
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(f"a payload is str or bytes, and this is {type(payload).__name__}")


def _text(text) -> str:
    """For people: what cannot be written in UTF-8 is replaced."""
    return str(text).encode(errors="replace").decode()


def _key(key: str) -> str:
    key.encode()
    return key


def _id_text(id: ComponentId) -> str:
    return f"{id.namespace}/{id.name}/{id.instance}"


def _id(target: str) -> ComponentId:
    segments = _key(target).split("/")
    if len(segments) != 3:
        raise ValueError(f"{target} is no id: it is namespace/name/instance")
    return ComponentId(*segments)


class Message:
    """Something that arrived."""

    def __init__(self, message):
        #: Who sent it, which the host vouches for: namespace/name/instance.
        self.sender: str = _id_text(message.sender)
        self.payload: bytes = message.payload
        self.content_type: Optional[str] = message.metadata.content_type

    @property
    def text(self) -> str:
        return self.payload.decode()

    @property
    def json(self):
        return _json.loads(self.payload)


def _failure(told: str) -> str:
    """Why a request has no answer, of the case and its text."""
    if told.startswith("correlation-timeout"):
        return "the request was not answered in time"
    return f"the request failed: {told.removeprefix('delivery-failed: ')}"


class Answer(Message):
    """The answer to a request, or, in `error`, why there is none."""

    def __init__(self, message):
        super().__init__(message)
        failed = self.content_type == _MESSAGING_ERROR
        self.error: Optional[str] = _failure(self.text) if failed else None


class Config:
    """What the manifest has for the component: `[config]` and `[env]`."""

    def __init__(self, config):
        self.data: Optional[bytes] = config.config_data
        self.variables: dict[str, str] = dict(config.env_vars)

    @property
    def text(self) -> Optional[str]:
        return None if self.data is None else self.data.decode()

    @property
    def json(self):
        return None if self.data is None else _json.loads(self.data)


class Component:
    """What a component derives from; all but `handle` may be left out."""

    def __init__(self, config: Config):
        pass

    def handle(self, message: Message) -> Optional[Payload]:
        """Handles a message. What it returns is the reply."""
        raise NotImplementedError

    def health(self) -> HealthStatus:
        return HealthStatus.HEALTHY

    def shutdown(self) -> None:
        """The last call of an instance."""


def send(to: str, payload: Payload) -> None:
    """A message that is not answered."""
    _ask(_messaging.send, _id(to), _bytes(payload))


def broadcast(to: Iterable[str], payload: Payload) -> None:
    """The same message to several components."""
    _ask(_messaging.broadcast, [_id(target) for target in to], _bytes(payload))


_open: dict[str, Callable[[Answer], None]] = {}


def request(to: str, payload: Payload, timeout_ms: int, answered: Callable[[Answer], None]) -> str:
    """A message that is answered: `answered` is called once, later. Returns the id."""
    id = _ask(_messaging.request, _id(to), _bytes(payload), timeout_ms)
    _open[id] = answered
    return id


def cancel(id: str) -> None:
    """The request is not answered any more."""
    _ask(_messaging.cancel_request, id)
    _open.pop(id, None)


class _Storage:
    """What this component keeps, as a dict does: `storage[key] = value`."""

    def get(self, key: str, default: Optional[bytes] = None) -> Optional[bytes]:
        value = _ask(_storage.get, _key(key))
        return default if value is None else value

    def __getitem__(self, key: str) -> bytes:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Payload) -> None:
        _ask(_storage.set, _key(key), _bytes(value))

    def __delitem__(self, key: str) -> None:
        _ask(_storage.delete, _key(key))

    def __contains__(self, key: str) -> bool:
        return _ask(_storage.exists, _key(key))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with a prefix."""
        return _ask(_storage.list_keys, _key(prefix))

    def usage(self) -> _storage.StorageUsage:
        """How much it holds: `used_bytes`, `quota_bytes` and `key_count`."""
        return _ask(_storage.usage)


storage = _Storage()


class _Log:
    """Log lines: `log.info(...)` and so on."""

    def trace(self, line) -> None:
        _services.log(LogLevel.TRACE, _text(line), None)

    def debug(self, line) -> None:
        _services.log(LogLevel.DEBUG, _text(line), None)

    def info(self, line) -> None:
        _services.log(LogLevel.INFO, _text(line), None)

    def warn(self, line) -> None:
        _services.log(LogLevel.WARN, _text(line), None)

    def error(self, line) -> None:
        _services.log(LogLevel.ERROR, _text(line), None)


log = _Log()


def now() -> int:
    """Milliseconds since the Unix epoch."""
    return _services.current_time_millis()


def sleep(milliseconds: int) -> None:
    _services.sleep_millis(milliseconds)


def own_id() -> str:
    """Who this component is: namespace/name/instance."""
    return _id_text(_messaging.self_id())


def components() -> list[str]:
    """The ids of the components that this one knows of."""
    return [_id_text(id) for id in _services.list_components()]


def _reason(raised: Exception) -> str:
    said = _text(raised)
    plain = isinstance(raised, HostError) or type(raised) is Exception
    name = type(raised).__name__
    return said if said and plain else f"{name}: {said}" if said else name


def export(component: type[Component], *, name: str = "", version: str = "",
           description: str = "", author: str = "", license: str = "",
           operations: Iterable[str] = ()):
    """The exports of the contract, for a class."""
    metadata = ComponentMetadata(
        name, version, description, author, license, list(operations), True
    )

    class ComponentLifecycle:
        running: Optional[Component] = None

        def initialize(self, config):
            try:
                ComponentLifecycle.running = component(Config(config))
            except Exception as raised:
                why = _errors.ComponentError_InitializationFailed(_reason(raised))
                raise Err(why) from None

        def handle_message(self, msg):
            try:
                reply = self.running.handle(Message(msg))
                return None if reply is None else _bytes(reply)
            except Exception as raised:
                raise Err(_errors.WasmError_RuntimeError(_reason(raised))) from None

        def handle_callback(self, msg):
            answered = _open.pop(msg.metadata.correlation_id, None)
            try:
                if answered is not None:
                    answered(Answer(msg))
            except Exception as raised:
                raise Err(_errors.WasmError_RuntimeError(_reason(raised))) from None

        def metadata(self):
            return metadata

        def health(self):
            return self.running.health() if self.running else HealthStatus.UNKNOWN

        def shutdown(self):
            try:
                if self.running:
                    self.running.shutdown()
            except Exception as raised:
                raise Err(_errors.ComponentError_ShutdownFailed(_reason(raised))) from None

    return ComponentLifecycle
