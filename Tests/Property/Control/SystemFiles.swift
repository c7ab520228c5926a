import Foundation
import Kernel

enum SystemFiles {
    static func makeFolder() -> String {
        let path = FileManager.default.temporaryDirectory.path + "/ctl-\(UUID().uuidString)"
        try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }
    static func write(_ bytes: Bytes, to path: String) {
        let folder = (path as NSString).deletingLastPathComponent
        try! FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try! Data(bytes).write(to: URL(fileURLWithPath: path))
    }
    static func write(_ text: String, to path: EntryName) {
        let file = fopen(path.bytes.map(CChar.init(bitPattern:)) + [0], "w")!
        fputs(text, file)
        fclose(file)
    }
    static func link(_ path: String, to target: String) {
        try! FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
    }
    static func read(_ path: String) -> String? { FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } }
    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
