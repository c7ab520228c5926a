// CRC-32C (Castagnoli), eight bytes at a time by tables. RFC 3720 appendix B.4.

import Kernel

private let tables: [[UInt32]] = {
    var first = [UInt32](repeating: 0, count: 256)
    for i in 0..<256 {
        var crc = UInt32(i)
        for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
        first[i] = crc
    }
    var all = [first]
    for n in 1..<8 {
        all.append((0..<256).map { all[n - 1][$0] >> 8 ^ first[Int(all[n - 1][$0] & 255)] })
    }
    return all
}()
private let flat: [UInt32] = tables.flatMap { $0 }

package func crc32c(_ bytes: some Collection<UInt8>, from start: UInt32 = 0) -> UInt32 {
    bytes.withContiguousStorageIfAvailable { update($0, start) } ?? Bytes(bytes).withUnsafeBufferPointer { update($0, start) }
}

private func update(_ bytes: UnsafeBufferPointer<UInt8>, _ start: UInt32) -> UInt32 {
    flat.withUnsafeBufferPointer { table in
        var crc = ~start
        var i = 0
        while i + 8 <= bytes.count {
            let low = crc ^ (UInt32(bytes[i]) | UInt32(bytes[i + 1]) << 8 | UInt32(bytes[i + 2]) << 16 | UInt32(bytes[i + 3]) << 24)
            crc = table[1792 + Int(low & 255)] ^ table[1536 + Int(low >> 8 & 255)]
                ^ table[1280 + Int(low >> 16 & 255)] ^ table[1024 + Int(low >> 24)]
            crc ^= table[768 + Int(bytes[i + 4])] ^ table[512 + Int(bytes[i + 5])]
            crc ^= table[256 + Int(bytes[i + 6])] ^ table[Int(bytes[i + 7])]
            i += 8
        }
        while i < bytes.count {
            crc = crc >> 8 ^ table[Int((crc ^ UInt32(bytes[i])) & 255)]
            i += 1
        }
        return ~crc
    }
}
