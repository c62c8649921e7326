"""What a service allows, and where it listens."""

from dataclasses import dataclass

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service is run; every limit is there so that no request can take it down.

    Args:
        host: Address to listen on. Others than loopback are reached from other machines.
        port: Where to listen; 0 takes one that is free.
        token: What requests have to bring as `Authorization: Bearer TOKEN` (null: nothing).
        origins: Web pages of other sites that may call the service from a browser, such as https://example.org.
        names: Names by which the service is called beside its address, where a proxy stands before it.
        queue: Inputs that may wait; more are refused with 503 and the seconds after which to try again.
        batch: Inputs of one kind that are run together.
        timeout: Seconds from a request to its answer; later it is 504.
        patience: Seconds for a request to arrive.
        connections: Requests that are held at a time, whether they arrive, wait or are answered.
        inputs: Inputs of a request.
        characters: Characters of a text.
        upload: Bytes of a request with files; of texts, what their characters can take.
        pixels: Of a picture.
        seconds: Of a sound.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    queue: int = 64
    batch: int = 16
    timeout: float = 60.0
    patience: float = 30.0
    connections: int = 1000
    inputs: int = 32
    characters: int = 20_000
    upload: int = 20_000_000
    pixels: int = 25_000_000
    seconds: float = 600.0

    def __post_init__(self) -> None:
        for name in ("queue", "batch", "timeout", "patience", "connections", "inputs", "characters", "upload"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is more than 0; got {getattr(self, name)}")
        if self.token is not None and len(self.token) < 8:
            raise ValueError("a token has 8 characters or more, or it can be guessed")
        if not 0 <= self.port < 65_536:
            raise ValueError(f"a port is a number from 0 to 65535; got {self.port}")

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the service."""
        return self.host in LOOPBACK

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """The names by which requests may call it: a web page whose name leads here is no friend. None: any."""
        if not self.local and not self.names:
            return None
        return (*LOOPBACK, self.host, *self.names)
