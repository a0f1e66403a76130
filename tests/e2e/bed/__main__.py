"""`python -m tests.e2e.bed`: the bed for a person."""

import argparse
import signal
import sys
import time

from tests.e2e.bed import addresses, build
from tests.e2e.bed.bed import full_bed
from tests.e2e.bed.cluster import Cluster
from tests.e2e.bed.quick import QuickBed
from tests.e2e.bed.waiting import BedFailed


def show(clusters: list[Cluster]) -> None:
    """Print what is needed to use the clusters."""
    programs = f"{build.folder('kube')}:{build.folder('helm')}"
    print("\nThe clusters; credentials are inside the kubeconfigs:")
    for cluster in clusters:
        print(f"  {cluster.region:5} {cluster.server:28} {cluster.kubeconfig}")
    print("\nNext:")
    print(f"  export PATH={programs}:$PATH")
    print(f"  export KUBECONFIG={clusters[0].kubeconfig}")
    print("  kubectl get nodes,pods -A")


def up() -> None:
    """Start the full form and say how to go on."""
    started = time.monotonic()
    bed = full_bed()
    fresh = bed.up()
    took = time.monotonic() - started
    print(f"The bed is up ({took:.0f} s)." if fresh else "The bed was up already.")
    show(list(bed.clusters.values()))
    print("  helm list -A")
    print(f"What listens on {bed.host} is reached by the pods of every region.")
    print("  make bed-down      # when you are done")


def down() -> None:
    """Remove the full form."""
    full_bed().down()
    print("The bed is gone.")


def status() -> None:
    """Tell what runs; exits with 1 when the bed is not whole."""
    bed = full_bed()
    healthy = bed.healthy()
    components = bed.components()
    for name, runs in components.items():
        print(f"  {name:20} {'running' if runs else 'NOT running'}")
    if healthy:
        print("The bed is up.")
        show(list(bed.clusters.values()))
    elif components:
        print("The bed is not whole: `up` starts it anew, `down` removes it.")
    else:
        print("There is no bed.")
    if not healthy:
        sys.exit(1)


def quick(regions: list[str]) -> None:
    """Run the quick form until it is interrupted."""
    with QuickBed(regions) as bed:
        show(list(bed.clusters.values()))
        print("\nCtrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("Ending.")


def main() -> int:
    """Do what the first argument says."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.bed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start clusters with nodes (root), or find them running")
    commands.add_parser("down", help="remove all of it, also after a crash")
    commands.add_parser("status", help="tell what runs")
    commands.add_parser("build", help="only compile what is not kept yet")
    form = commands.add_parser("quick", help="control planes only, until Ctrl-C, without root")
    form.add_argument("regions", nargs="*", default=list(addresses.REGIONS))
    options = parser.parse_args()
    try:
        match options.command:
            case "up":
                up()
            case "down":
                down()
            case "status":
                status()
            case "build":
                build.build()
            case "quick":
                quick(options.regions)
    except (BedFailed, build.BuildFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
