// ipfs-cluster-sim: runs the peers' code through partitions, crashes and churn, from one number.

import Foundation
import Kernel
import SimNet

let usage = """
    ipfs-cluster-sim: runs IPFS Cluster peers on a simulated network.

    USAGE:
      ipfs-cluster-sim run (--seed N | --plan FILE) [--quiet]
                                          one run: a line for each event, then the verdict
          --html FILE                     a page to look at: peers as lines, messages, faults, the life of pins
          --why CID                       only what has to do with that content and what led to it (c3, or an end of its CID)
          --write-plan FILE               writes the run down: options, workload and faults, one line each
      ipfs-cluster-sim sweep (--seeds K | --minutes M) [--from N] [--jobs J]
                                          K runs from seed N (default 1), or as many as M minutes allow: failures, probes and figures
          --until ORACLES                 ends with the first failure by one of them (DURABLE|COVER, say; NOTHING: with none), and
                                          names each seed on standard error before it is run
      ipfs-cluster-sim shrink (--seed N | --plan FILE) [--to FILE] [--minutes M]
                                          the least that fails in the same way, as a plan, and which faults it needs
          --with BINARY                   judged by another build of the simulator, such as a mutant's

      ipfs-cluster-sim explore [--operations N] [--peers N] [--contents N] [--batching] [--part K/N]
                                          every plan of so few operations with at most one partition, and in each a crash
                                          between any two effects
      ipfs-cluster-sim drill --seeds K [--from N] [--steps N] [--until ORACLES]
                                          a replica, an index and some hosts alone, on disks and sockets that fail all the time:
                                          the first part of each run
      ipfs-cluster-sim verify --seeds K [--from N]
                                          each run twice, in two processes: the same to the last bit, or where they part
      ipfs-cluster-sim replay JOURNAL [--quiet]
                                          what a real peer heard (ipfs-cluster-service daemon --journal) once more: a line for
                                          each input, then whether the same came of it, or the first difference

      ipfs-cluster-sim faults             the catalogue of faults
      ipfs-cluster-sim oracles            what must hold

      with sweep:
          --ledger FILE                   appends a line of JSON for each run
          --without FAMILIES              without these families of faults (network+disk, say)
          --disk-faults                   crashes between effects, full disks, failing syncs and rotting bits in every run
                                          (with run as well)
          --peers N                       crowds of N peers, each of which knows one to three others at first (with run as well)

    A failing seed is replayed by: ipfs-cluster-sim run --seed N
    Exit status: 0 if everything held, 1 if not, 2 for wrong usage.
    """

var arguments = Arguments(Array(CommandLine.arguments.dropFirst()))
switch arguments.command {
case "run": runOne(&arguments)
case "sweep": sweep(&arguments)
case "shrink": shrinkCommand(&arguments)
case "explore": explore(&arguments)
case "drill": drill(&arguments)
case "verify": verify(&arguments)
case "replay": replayJournal(&arguments)
case "faults": print(FaultKind.table, terminator: "")
case "oracles": for oracle in Oracle.allCases { print(oracle.rawValue.padding(toLength: 10, withPad: " ", startingAt: 0) + oracle.statement) }
case "--help", "-h", "help": print(usage)
case nil: fail("a command is needed")
case .some(let other): fail("unknown command \(other)")
}
