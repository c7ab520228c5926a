// Keys of upstream's four datastores. A peer here keeps its own log; these sections are read, checked and written so that a
// folder can go back and forth. Zero values of options never override (spec/config.md 10). CFG-176..206.

import Encoding
import Kernel
import Multiformats

extension Component {
    private static func option(_ path: String, _ initial: Int64, type: String = "int") -> Key {
        .int(path, initial, zero: .keeps, type: type)
    }
    private static func option(_ path: String, _ initial: Bool) -> Key { .flag(path, initial, zero: .keeps) }
    private static func ratio(_ path: String, _ initial: Double) -> Key { .real(path, initial, zero: .keeps) }
    private static func folder(_ name: String) -> Key { .text("folder", name, zero: .keeps, shown: .unlessInitial) }

    static let pebble = Component(
        name: .pebble,
        keys: [folder("pebble")] + [
            option("cache_size_bytes", 1 << 30, type: "int64"),
            option("bytes_per_sync", 1 << 20),
            option("disable_wal", false),
            Key("flush_delay_delete_range", .nanoseconds, .int(0), zero: .keeps),
            Key("flush_delay_range_key", .nanoseconds, .int(0), isIgnored: true),
            option("flush_split_bytes", 4 << 20, type: "int64"),
            .unsigned("format_major_version", 24, zero: .keeps, type: "pebble.FormatMajorVersion"),
            option("l0_compaction_file_threshold", 750),
            option("l0_compaction_threshold", 4),
            option("l0_stop_writes_threshold", 12),
            option("l_base_max_bytes", 128 << 20, type: "int64"),
            option("max_open_files", 1000),
            .unsigned("mem_table_size", 64 << 20, zero: .keeps),
            option("mem_table_stop_writes_threshold", 20),
            option("read_only", false),
            option("wal_bytes_per_sync", 0),
            Key("levels", .objects(pebbleLevel), .objects(pebbleLevels), zero: .keeps),
        ].map { $0.moved(below: "pebble_options") },
        checks: [
            {
                let version = $0.unsigned("pebble_options.format_major_version")
                return (13...24).contains(version) ? nil : "FormatMajorVersion (\(version)) must be between 13 and 24"
            },
            {
                let stop = $0.int("pebble_options.l0_stop_writes_threshold")
                let compact = $0.int("pebble_options.l0_compaction_threshold")
                return stop < compact ? "L0StopWritesThreshold (\(stop)) must be >= L0CompactionThreshold (\(compact))" : nil
            },
            { $0.unsigned("pebble_options.mem_table_size") >= 4 << 30 ? "MemTableSize must be < 4.0GB" : nil },
            {
                let count = $0.int("pebble_options.mem_table_stop_writes_threshold")
                return count < 2 ? "MemTableStopWritesThreshold (\(count)) must be >= 2" : nil
            },
        ])

    /// `target_file_size` stands last (CFG-193).
    private static let pebbleLevel: [Key] = [
        .int("block_restart_interval", 16), .int("block_size", 4096), .int("block_size_threshold", 90), .int("compression", 1),
        .int("filter_type", 0), .int("filter_policy", 10), .int("index_block_size", 4096), .int("target_file_size", 4 << 20),
    ]
    private static let pebbleLevels: [[Value]] = completedLevels([])

    /// Seven levels: those that are missing are made from the defaults, with twice the file size of the level before.
    static func completedLevels(_ given: [[Value]]) -> [[Value]] {
        var levels = Array(given.prefix(7))
        while levels.count < 7 {
            var level = pebbleLevel.map(\.initial)
            if case .int(let size) = levels.last?.last { level[level.count - 1] = .int(size &* 2) }
            levels.append(level)
        }
        return levels
    }

    static let leveldb = Component(
        name: .leveldb,
        keys: [folder("leveldb")] + [
            option("block_cache_capacity", 0),
            option("block_cache_evict_removed", false),
            option("block_restart_interval", 0),
            option("block_size", 0),
            option("compaction_expand_limit_factor", 0),
            option("compaction_gp_overlaps_factor", 0),
            option("compaction_l0_trigger", 0),
            option("compaction_source_limit_factor", 0),
            option("compaction_table_size", 0),
            ratio("compaction_table_size_multiplier", 0),
            Key("compaction_table_size_multiplier_per_level", .reals, .reals(nil), zero: .keeps),
            option("compaction_total_size", 0),
            ratio("compaction_total_size_multiplier", 0),
            Key("compaction_total_size_multiplier_per_level", .reals, .reals(nil), zero: .keeps),
            .unsigned("compression", 0, zero: .keeps, type: "uint"),
            option("disable_buffer_pool", false),
            option("disable_block_cache", false),
            option("disable_compaction_backoff", false),
            option("disable_large_batch_transaction", false),
            option("iterator_sampling_rate", 0),
            option("no_sync", false),
            option("no_write_merge", false),
            option("open_files_cache_capacity", 0),
            option("read_only", false),
            .unsigned("strict", 0, zero: .keeps, type: "uint"),
            option("write_buffer", 0),
            option("write_l0_pause_trigger", 0),
            option("write_l0_slowdown_trigger", 0),
        ].map { $0.moved(below: "leveldb_options") })

    static let badger = Component(
        name: .badger,
        keys: collection("badger") + [
            .text("dir", zero: .keeps),
            .text("value_dir", zero: .keeps),
            option("sync_writes", true),
            .int("table_loading_mode", 2, zero: .countsIfWritten, type: "options.FileLoadingMode"),
            .int("value_log_loading_mode", 0, zero: .countsIfWritten, type: "options.FileLoadingMode"),
            option("num_versions_to_keep", 1),
            option("max_table_size", 16 << 20, type: "int64"),
            option("level_size_multiplier", 10),
            option("max_levels", 7),
            option("value_threshold", 32),
            option("num_memtables", 5),
            option("num_level_zero_tables", 5),
            option("num_level_zero_tables_stall", 10),
            option("level_one_size", 256 << 20, type: "int64"),
            option("value_log_file_size", 1_073_741_823, type: "int64"),
            .unsigned("value_log_max_entries", 1_000_000, zero: .keeps, type: "uint32", bits: 32),
            option("num_compactors", 2),
            option("compact_l_0_on_close", false),
            option("read_only", false),
            option("truncate", true),
        ].map { $0.moved(below: "badger_options") },
        checks: collectionChecks)

    static let badger3 = Component(
        name: .badger3,
        keys: collection("badger3") + [
            .text("dir", zero: .keeps),
            .text("value_dir", zero: .keeps),
            option("sync_writes", false),
            option("num_versions_to_keep", 1),
            option("read_only", false),
            .unsigned("compression", 0, zero: .keeps, type: "options.CompressionType", bits: 32),
            option("in_memory", false),
            option("metrics_enabled", true),
            option("num_goroutines", 8),
            option("mem_table_size", 64 << 20, type: "int64"),
            option("base_table_size", 2 << 20, type: "int64"),
            option("base_level_size", 10 << 20, type: "int64"),
            option("level_size_multiplier", 10),
            option("table_size_multiplier", 2),
            option("max_levels", 7),
            ratio("v_log_percentile", 0),
            option("value_threshold", 100, type: "int64"),
            option("num_memtables", 5),
            option("block_size", 4096),
            ratio("bloom_false_positive", 0.01),
            option("block_cache_size", 0, type: "int64"),
            option("index_cache_size", 0, type: "int64"),
            option("num_level_zero_tables", 5),
            option("num_level_zero_tables_stall", 15),
            option("value_log_file_size", 1_073_741_823, type: "int64"),
            .unsigned("value_log_max_entries", 1_000_000, zero: .keeps, type: "uint32", bits: 32),
            option("num_compactors", 4),
            option("compact_l_0_on_close", false),
            option("lmax_compaction", false),
            option("zstd_compression_level", 1),
            option("verify_value_checksum", false),
            option("checksum_verification_mode", 0, type: "options.ChecksumVerificationMode"),
            option("detect_conflicts", false),
            option("namespace_offset", -1),
        ].map { $0.moved(below: "badger_options") },
        checks: collectionChecks)

    /// CFG-199..201; both badgers name `badger` in errors (CFG-204).
    private static func collection(_ name: String) -> [Key] {
        [
            folder(name),
            .real("gc_discard_ratio", 0.2, zero: .keeps),
            .span("gc_interval", .minutes(15), failure: "error parsing badger.gc_interval"),
            .span("gc_sleep", .seconds(10), failure: "error parsing badger.gc_sleep"),
        ]
    }
    private static let collectionChecks: [Check] = [
        {
            let ratio = $0.real("gc_discard_ratio")
            return ratio > 0 && ratio < 1 ? nil : "gc_discard_ratio must be more than 0 and less than 1"
        }
    ]
}

extension Key {
    fileprivate func moved(below outer: String) -> Key {
        Key(
            "\(outer).\(path)", kind, initial, zero: zero, shown: shown, failure: failure, isHidden: isHidden,
            isIgnored: isIgnored)
    }
}
