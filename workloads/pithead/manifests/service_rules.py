"""Answers for what holds for the hostnames and annotations of a Service that the operator makes."""

import re
from collections.abc import Iterator
from typing import Protocol

from pithead.manifests.base import GROUP, Path, Rule

DNS_ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
"""The annotation that hostnames become on a Service."""
ANNOTATION_KEY = "^([a-z0-9][a-z0-9.-]{0,252}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
"""As API servers want it on a Service."""


class Published(Protocol):
    """A structure that a Service is made of."""

    @property
    def hostnames(self) -> tuple[str, ...]:
        """DNS names of the Service."""
        ...

    @property
    def service_annotations(self) -> dict[str, str]:
        """Further annotations of it."""
        ...


def service_rules() -> tuple[Rule, ...]:
    """The rules of a structure with `hostnames` and `serviceAnnotations`."""
    return (
        Rule(
            # API servers judge the default of a whole structure, {}, before they fill it.
            "!has(self.serviceAnnotations) || "
            f"self.serviceAnnotations.all(k, k.matches('{ANNOTATION_KEY}'))",
            "this is no key of an annotation; expected one such as example.org/name",
            "serviceAnnotations",
            _bad_key,
        ),
        Rule(
            "!has(self.serviceAnnotations) || "
            f"self.serviceAnnotations.all(k, !k.startsWith('{GROUP}/'))",
            f"annotations under {GROUP}/ are set by the operator; remove it",
            "serviceAnnotations",
            _own_key,
        ),
        Rule(
            "!has(self.hostnames) || size(self.hostnames) == 0 || !has(self.serviceAnnotations)"
            f" || !('{DNS_ANNOTATION}' in self.serviceAnnotations)",
            f"hostnames and the annotation {DNS_ANNOTATION} say the same; give one of them",
            "hostnames",
            _hostnames_twice,
        ),
    )


def annotations_of(service: Published) -> dict[str, str]:
    """All annotations of the Service."""
    found = {DNS_ANNOTATION: ",".join(service.hostnames)} if service.hostnames else {}
    return found | dict(sorted(service.service_annotations.items()))


def _bad_key(service: Published) -> Iterator[Path]:
    for key in service.service_annotations:
        if not re.fullmatch(ANNOTATION_KEY, key):
            yield ("serviceAnnotations", key)


def _own_key(service: Published) -> Iterator[Path]:
    for key in service.service_annotations:
        if key.startswith(f"{GROUP}/"):
            yield ("serviceAnnotations", key)


def _hostnames_twice(service: Published) -> Iterator[Path]:
    if service.hostnames and DNS_ANNOTATION in service.service_annotations:
        yield ("hostnames",)
