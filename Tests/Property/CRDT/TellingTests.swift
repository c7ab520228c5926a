// Who hears of changes, and who does not want to.

import Kernel
import MerkleCRDT
import Testing

@Suite struct TellingTests {
    @Test func whereNobodyListensNothingIsToldAndAllElseIsTheSame() throws {
        var silent = ReplicaSettings()
        silent.tellsChanges = false
        var (room, quiet) = (try Room(1), try Room(1, silent))
        for value: UInt8 in 1...20 {
            room.put(0, "/k\(value % 7)", [value])
            quiet.put(0, "/k\(value % 7)", [value])
        }
        room.delete(0, "/k3")
        quiet.delete(0, "/k3")
        #expect(room.members[0].hooks.count == 21 && quiet.members[0].hooks.isEmpty)
        let (told, untold) = (room.members[0].replica, quiet.members[0].replica)
        #expect(untold.digest == told.digest && untold.count == 6 && untold.untoldCount == 0)
        #expect(quiet.members[0].finished.count == 21)
    }
}
