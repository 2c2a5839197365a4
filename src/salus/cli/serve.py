"""A guard in service."""

from __future__ import annotations

from typing import Any

import click

from salus.cli.options import SettingsCommand, plan_fields


@click.command("serve", cls=SettingsCommand, declaring="salus.serve.settings:Settings")
@click.argument("bundles", nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--model", help="package.module:factory, for bundles around a model of your own.")
def serve(bundles: tuple[str, ...], model: str | None, **options: Any) -> None:
    """Let guards judge over HTTP, every verdict logged.

    BUNDLE is a folder that `salus guard fit` or an audit wrote, or NAME=FOLDER; without a name the guard is called as
    its folder is. Without options it listens on this machine alone and needs no token there. With --engine ray, guards
    judge on the machines of a Ray cluster, as many as load asks for.

    \b
    salus serve runs/bundle
    salus serve runs/bundle --engine ray --replicas 1..4
    salus serve hearts=runs/bundle --host 0.0.0.0 --tls-certificate cert.pem --tls-key key.pem
    """
    from salus.options import build

    try:
        from salus.serve.guards import sources_of
        from salus.serve.run import serve as run
        from salus.serve.settings import Settings
    except ModuleNotFoundError as error:
        from salus.errors import OptionError

        raise OptionError(f"Serving needs {error.name}, which is not installed: pip install 'salus[serve]'.") from error
    settings = build(Settings, plan_fields(options), "the service")
    if settings.ray_address is None:
        run(settings, sources_of(bundles, model), click.echo)
    else:
        from salus.serve.ray.run import serve_on_ray

        serve_on_ray(settings, sources_of(bundles, model), click.echo)
