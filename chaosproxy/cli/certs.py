"""`certs`: make a private CA and certificates for tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from chaosproxy.cli.exits import BadInput
from chaosproxy.cli.printing import print_json, print_text
from chaosproxy.cli.types import WholeNumber
from chaosproxy.declare import Whole

if TYPE_CHECKING:
    from chaosproxy.certs import Made

__all__ = ["certs"]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--out", "directory", type=click.Path(path_type=Path), required=True, help="Directory to write to.")
@click.option("--days", type=WholeNumber(Whole(1, 3650)), metavar="N", default=30, show_default=True,
              help="Days the certificates last, 1 to 3650.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def certs(names: tuple[str, ...], directory: Path, days: int, as_json: bool) -> None:
    """Make a CA and certificates for tests.

    Each NAME is a host name, *.wildcard.name or IP address, and gets a certificate.
    If the directory already has a CA, the CA is kept and the certificates are renewed: clients that
    trust the CA need no change. A certificate for localhost also covers 127.0.0.1 and ::1.
    """
    from chaosproxy.certs import BadName, make_certs  # imported late: no other command needs it

    try:
        made = make_certs(directory, names, days)
    except OSError as error:
        message = f"cannot write to {error.filename or directory}: {error.strerror or error}"
        raise BadInput(message, code="unwritable-file") from None
    except BadName as error:
        raise BadInput(str(error), code="invalid-name") from None
    except ValueError as error:  # the CA in the directory cannot be used
        raise BadInput(str(error), code="bad-certificate") from None
    if as_json:
        print_json(_as_data(made))
    else:
        print_text(_in_words(made))


def _as_data(made: Made) -> dict[str, object]:
    return {
        "ca": {"cert": str(made.ca.cert), "key": str(made.ca.key), "new": made.ca_is_new},
        "certificates": [
            {"name": name, "cert": str(files.cert), "key": str(files.key)} for name, files in made.leaves.items()
        ],
        "expires": made.expires.isoformat(timespec="seconds"),
    }


def _in_words(made: Made) -> str:
    lines = [f"CA {'made' if made.ca_is_new else 'kept (clients that trust it need no change)'}: {made.ca.cert}"]
    lines += [f"{name}: {files.cert}, {files.key}" for name, files in made.leaves.items()]
    lines += [f"The certificates expire on {made.expires:%Y-%m-%d %H:%M} UTC; run the command again to renew them.", ""]
    return "\n".join(lines + _trust(made.ca.cert.resolve()))


def _trust(ca: Path) -> list[str]:
    """List the ways to trust the CA: for one command, for one process, for the machine."""
    return [
        "To trust the CA:",
        f"  curl             curl --cacert {ca} …",
        f"  Python, OpenSSL  SSL_CERT_FILE={ca}",
        f"  Python requests  REQUESTS_CA_BUNDLE={ca}",
        f"  Node.js          NODE_EXTRA_CA_CERTS={ca}",
        f"  Debian, Ubuntu   sudo cp {ca} /usr/local/share/ca-certificates/chaosproxy.crt && "
        "sudo update-ca-certificates",
        f"  Fedora, RHEL     sudo cp {ca} /etc/pki/ca-trust/source/anchors/chaosproxy.pem && sudo update-ca-trust",
        f"  macOS            sudo security add-trusted-cert -d -k /Library/Keychains/System.keychain {ca}",
        "The CA's key can sign a certificate for any name: keep it secret, and trust the CA on test machines only.",
    ]
