// Files whose end is on its way to the disk.

import Foundation
import Kernel
import RealNet
import Seams
import Testing

@Suite struct FileDiskTests {
    @Test func whatIsNotWrittenYetIsMissingFromARead() throws {
        let folder = NSTemporaryDirectory() + "filedisk-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let loop = EventLoop()
        let disk = try FileDisk(root: folder, loop: loop)
        disk.onEvent = { _ in loop.later { loop.stop() } }
        disk.carryOut(.append("a.log", [1, 2, 3]))
        disk.carryOut(.sync("a.log", SyncTicket(owner: 1, number: 1)))
        loop.run()
        disk.carryOut(.append("b.log", Bytes(repeating: 7, count: 32 << 20)))  // the writer is busy with it
        disk.carryOut(.append("a.log", [4, 5]))
        let bytes = try disk.read("a.log", at: 0, count: 256)
        #expect(bytes.starts(with: [1, 2, 3]) && ([1, 2, 3, 4, 5] as Bytes).starts(with: bytes))
        disk.carryOut(.sync("a.log", SyncTicket(owner: 1, number: 2)))
        loop.run()
        #expect(try disk.read("a.log", at: 0, count: 256) == [1, 2, 3, 4, 5])
        // Who cuts a file behind our back is told of.
        let handle = try #require(FileHandle(forWritingAtPath: folder + "/a.log"))
        try handle.truncate(atOffset: 1)
        #expect(throws: DiskError.self) { try disk.read("a.log", at: 0, count: 256) }
    }
}
