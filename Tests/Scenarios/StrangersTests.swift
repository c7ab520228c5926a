// A member that tells of thousands who do not exist: few of them are dialled at a time, and the cluster comes to rest all the same.

import Kernel
@testable import SimNet
import Testing

@Suite struct StrangersTests {
    /// By name in a PRUNE, signed in a PRUNE, and in what it answers to who asks whom it knows.
    @Test(arguments: 0...2) func aCrowdOfStrangersChangesNothing(amount: Int) throws {
        let plan = try RunPlan(text: """
            run seed=5
            options peers=3 outsider=yes storm=60s
            at 20s p0 pin c1 #1
            at 25s fault 1 hostile-strangers p3 amount=\(amount)
            at 30s p1 pin c2 #2
            at 40s fault 2 hostile-strangers p3 amount=\(amount)
            at 45s fault 3 crash p2 for 5s
            at 50s p2 pin c3 #3
            """)
        let run = Run(plan)
        let verdict = run.execute()
        #expect(verdict.failure == nil)
        #expect(verdict.probes[.strangersTold] == 2)
        // Those without addresses nobody can dial; of the others as many as may be.
        let most = [0...5, 10...40, 160...190][amount]
        #expect(most.contains(run.oracles.dialledMax), "\(run.oracles.dialledMax)")
    }
}
