// What single machines do by themselves before there is a cluster, with faults a hundred times as often as in one.

package struct Drill {
    /// Who drills, as failures say it.
    package let subject: String
    package let lines: [String]
    package let crashes: Int
    package let failure: (oracle: Oracle, text: String)?

    /// As many as a run has of them.
    package static let steps = 320

    /// All drills of a seed, of so many steps each; of hosts half as many, as each takes longer.
    package static func all(_ tape: Tape, steps: Int) -> [Drill] {
        let replicas = ReplicaDrill.series(tape, steps: steps)
        let hosts = HostDrill.run(tape, steps: steps / 2)
        return [
            Drill(
                subject: "a replica", lines: replicas.last?.lines ?? [], crashes: replicas.reduce(0) { $0 + $1.crashes },
                failure: replicas.last?.failure),
            Drill(subject: "an index", lines: [], crashes: 0, failure: IndexDrill.failure(tape, steps: steps)),
            Drill(subject: "hosts", lines: hosts.lines, crashes: hosts.crashes, failure: hosts.failure),
        ]
    }
}
