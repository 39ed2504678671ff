"""What ``/metrics`` shows, in Prometheus's text format. Nothing of a picture, a name or a client is in it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One registry a service, so that several can live in one process (tests)."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("mien_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "mien_request_seconds", "From head to answer", ["path"], buckets=_SECONDS, registry=registry
        )
        self.pictures = Counter("mien_pictures", "Pictures read, by ok or kind of error", ["result"], registry=registry)
        self.faces = Counter("mien_faces", "Faces read", registry=registry)
        self.open_requests = Gauge("mien_open_requests", "Requests being received or read", registry=registry)
        self.queue = Gauge("mien_queue_pictures", "Pictures that wait or are being read", registry=registry)
        self.workers = Gauge("mien_workers_ready", "Reading processes that are ready", registry=registry)
        self.restarts = Counter("mien_worker_restarts", "Reading processes that ended unasked", registry=registry)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
