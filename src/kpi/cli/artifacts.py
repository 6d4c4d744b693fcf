"""The command that hands dbt's tools what they read: artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from kpi.cli.options import project_folder, project_option, target_option, variables_of, vars_option


@click.command()
@project_option
@click.option("--build", metavar="BUILD", help="Results and catalog of this build; else of the published one.")
@vars_option
@target_option
@click.option("--target-path", type=click.Path(path_type=Path), help="Where to; else target/ in the project.")
def artifacts(
    project_dir: Path | None, build: str | None, target_path: Path | None, variables: str, target: str
) -> None:
    """Write manifest.json, run_results.json and catalog.json for dbt's tools.

    The manifest is of the project as it is now. Results and catalog are of a build, when there is one.
    """
    import shutil

    from kpi.artifacts.artifacts import CATALOGUE, MANIFEST, RESULTS, write_project_manifest
    from kpi.compile.compiling import compiled
    from kpi.warehouse.builds import Warehouse

    root = project_folder(project_dir)
    graph = compiled(root, variables_of(variables), target).graph
    folder_of_files = target_path or root / "target"
    folder_of_files.mkdir(parents=True, exist_ok=True)
    write_project_manifest(folder_of_files / MANIFEST, graph)
    click.echo(f"Wrote {folder_of_files / MANIFEST}.")
    warehouse = Warehouse(root.resolve() / "warehouse")
    if build is None and warehouse.current() is None:
        click.echo("Nothing is published yet: no results and no catalog.")
        return
    folder = warehouse.folder(build)
    for name in (RESULTS, CATALOGUE):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, folder_of_files / name)
            click.echo(f"Wrote {folder_of_files / name} of build {folder.resolve().name}.")
        else:
            click.echo(f"Build {folder.resolve().name} has no {name}: it was made before kpi wrote one, or it failed.")
