// `explore`: small scopes, exhaustively.

import Foundation
import Kernel
import SimNet

func explore(_ arguments: inout Arguments) {
    var scope = Scope()
    scope.operations = Int(arguments.number("--operations") ?? 2)
    scope.peers = Int(arguments.number("--peers") ?? 3)
    scope.contents = Int(arguments.number("--contents") ?? 2)
    scope.isBatching = arguments.flag("--batching")
    let part = arguments.text("--part")?.split(separator: "/").compactMap { Int($0) } ?? [0, 1]
    arguments.done()
    guard part.count == 2, part[1] > 0, part[0] < part[1] else { fail("--part needs K/N with K less than N, such as 0/4") }
    guard (1...5).contains(scope.peers), (1...4).contains(scope.operations), scope.contents >= 1 else { fail("a scope has 1 to 5 peers, 1 to 4 operations and a content at least") }
    let plans = scope.plans.enumerated().filter { $0.offset % part[1] == part[0] }.map(\.element)
    print("\(plans.count) plans of \(scope.operations) operations, \(scope.peers) peers, \(scope.contents) CIDs, at most one partition")
    let began = Date()
    var exploration = Exploration()
    for (place, plan) in plans.enumerated() {
        let before = exploration.failures.count
        exploration.explore(plan)
        for (plan, text) in exploration.failures[before...] {
            print("FAILED: \(text)")
            print(plan.text, terminator: "")
        }
        if place % 10 == 9 || place == plans.count - 1 {
            print(String(format: "%d plans, %d crashes, %d of them left a world known before, %.0f s", exploration.plans, exploration.crashes, exploration.pruned, Date().timeIntervalSince(began)))
            fflush(nil)
        }
    }
    print(exploration.failures.isEmpty ? "everything held" : "\(exploration.failures.count) failures")
    exit(exploration.failures.isEmpty ? 0 : 1)
}
