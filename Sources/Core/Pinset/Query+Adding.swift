// The parameters of an add as a query. REST-107..122.

import Encoding
import Kernel
import Multiformats

extension AddParameters {
    /// Every parameter that the server heeds, with the pin options.
    package var query: URLQuery {
        var query = options.query
        query.add("layout", layout.rawValue)
        query.add("chunker", chunker)
        query.add("hash", hash)
        query.add("format", format.rawValue)
        query.add("cid-version", String(cidVersion))
        let flags = [
            ("raw-leaves", rawLeaves), ("local", isLocal), ("wrap-with-directory", wrapWithDirectory), ("progress", progress),
            ("stream-channels", streamChannels), ("nocopy", noCopy), ("no-pin", noPin), ("shard", shard),
        ]
        for (name, value) in flags { query.add(name, value ? "true" : "false") }
        return query
    }

    /// In upstream's order, so that the first fault named is the same.
    package init(query: URLQuery, now: WallTime) throws(FormError) {
        self.init()
        options = try PinOptions(query: query, now: now)
        options.pinUpdate = nil
        layout = try AddParameters.layout(query["layout"])
        if !query["chunker"].isEmpty { chunker = query["chunker"] }
        if !query["hash"].isEmpty { hash = query["hash"] }
        format = try AddParameters.format(query["format"])
        isLocal = try query.flag("local", or: false)
        // For clients only: checked, and without effect here (REST-120).
        for name in ["recursive", "hidden"] { _ = try query.flag(name, or: false) }
        wrapWithDirectory = try query.flag("wrap-with-directory", or: false)
        shard = try query.flag("shard", or: false)
        progress = try query.flag("progress", or: false)
        cidVersion = try query.integer("cid-version", or: 0)
        rawLeaves = try query.flag("raw-leaves", or: cidVersion > 0)
        streamChannels = try query.flag("stream-channels", or: true)
        noCopy = try query.flag("nocopy", or: false)
        noPin = try query.flag("no-pin", or: false)
    }

    private static func layout(_ text: String) throws(FormError) -> Layout {
        guard let layout = text.isEmpty ? .balanced : Layout(rawValue: text) else {
            throw FormError("layout parameter is invalid")
        }
        return layout
    }

    private static func format(_ text: String) throws(FormError) -> Format {
        guard let format = text.isEmpty ? .unixfs : Format(rawValue: text) else {
            throw FormError("format parameter is invalid")
        }
        return format
    }
}
