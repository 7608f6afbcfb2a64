"""Options by which a push states, signed and with an expiry, what a channel names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from weighbridge.cli.registry.promote_options import Signing
    from weighbridge.registry.publish.package import Package
    from weighbridge.registry.publish.pull import OciSource


@dataclass(frozen=True)
class FreshOptions:
    """Whether the channel is stated too, and for how long."""

    fresh_for: Annotated[
        str | None,
        typer.Option(
            "--fresh-for",
            metavar="TIME",
            help="Sign that the channel names this version, good for a time such as 48h; push again to renew it.",
            show_default=False,
        ),
    ] = None

    def state(
        self, package: Package, place: OciSource, channel: str | None, signing: Signing, home: Path
    ) -> tuple[bytes | None, str]:
        """The signed channel statement and when it was signed; none where it is not asked for."""
        if self.fresh_for is None:
            return None, ""
        from weighbridge.core.errors import InputError
        from weighbridge.core.facts.quantities import parse_quantity
        from weighbridge.registry.state.layout import WorkTree
        from weighbridge.registry.trust.freshness import Stated, state_channel

        if channel is None or place.reference.tag != channel:
            raise InputError(
                "states what a channel names: MODEL@CHANNEL under the channel's own tag",
                where="--fresh-for",
                fix="such as `push MODEL@stable oci://…:stable`",
            )
        try:
            lifetime = timedelta(seconds=parse_quantity(self.fresh_for, "seconds", needs_unit=True))
        except (ValueError, OverflowError) as error:
            raise InputError(str(error), where="--fresh-for", fix="such as --fresh-for 48h") from error
        key = signing.signer()
        if key is None:
            raise InputError("needs something to sign with", where="--fresh-for", fix="--key FILE or --keyless")
        now = datetime.now(UTC)
        stated = Stated(package.record, package.record_bytes, channel, now, str(place.reference))
        return state_channel(WorkTree(home), stated, lifetime, key), now.isoformat(timespec="seconds")
