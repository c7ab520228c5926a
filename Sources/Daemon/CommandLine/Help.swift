// Help texts in the layout of upstream's library. CLI-004.

import Encoding
import Kernel

extension App {
    /// What an app prints for wrong usage, `--help` and no command.
    var generalHelp: String { isProgram ? programHelp : groupHelp }

    var programHelp: String {
        let shown = flags.filter { !$0.isHidden }
        var text = "NAME:\n   \(name)" + (usage.isEmpty ? "" : " - \(usage)")
        text += "\n\nUSAGE:\n   \(name) " + (shown.isEmpty ? "" : "[global options]") + " command [command options] "
        text += argsUsage.isEmpty ? "[arguments...]" : argsUsage
        text += "\n\nVERSION:\n   \(version)"
        if !description.isEmpty { text += "\n\nDESCRIPTION:\n   " + indented(description) }
        text += "\n\nCOMMANDS:\n" + commandTable
        if !shown.isEmpty { text += "\n\nGLOBAL OPTIONS:\n" + aligned(shown.map(\.cells)) }
        return text + "\n"
    }

    private var groupHelp: String {
        let shown = flags.filter { !$0.isHidden }
        var text = "NAME:\n   \(name) - " + (description.isEmpty ? usage : indented(description))
        text += "\n\nUSAGE:\n   \(name) command" + (shown.isEmpty ? "" : " [command options]") + " "
        text += argsUsage.isEmpty ? "[arguments...]" : argsUsage
        text += "\n\nCOMMANDS:\n" + commandTable
        if !shown.isEmpty { text += "\n\nOPTIONS:\n" + aligned(shown.map(\.cells)) + "\n   " }
        return text + "\n"
    }

    private var commandTable: String {
        aligned(commands.filter { !$0.isHidden }.map { ($0.names.joined(separator: ", "), $0.usage) })
    }
}

extension Command {
    func help(below parent: String) -> String {
        let shown = flags.filter { !$0.isHidden }
        let name = "\(parent) \(name)"
        var text = "NAME:\n   \(name) - \(usage)\n\nUSAGE:\n   \(name)" + (shown.isEmpty ? "" : " [command options]") + " "
        text += argsUsage.isEmpty ? "[arguments...]" : argsUsage
        if !description.isEmpty { text += "\n\nDESCRIPTION:\n   " + indented(description) }
        if !shown.isEmpty { text += "\n\nOPTIONS:\n" + aligned(shown.map(\.cells)) + "\n   " }
        return text + "\n"
    }
}

extension Flag {
    /// `--config FOLDER, -c FOLDER` and what it is for, with default and variables.
    fileprivate var cells: (String, String) {
        let (word, plain) = unquoted
        let placeholder = kind.takesValue ? " " + (word ?? "value") : word.map { " " + $0 } ?? ""
        let shown = names.map { ($0.count == 1 ? "-" : "--") + $0 + placeholder }.joined(separator: ", ")
        let variables = environment.isEmpty ? "" : " [" + environment.map { "$" + $0 }.joined(separator: ", ") + "]"
        return (shown, plain + (defaultText.map { " (default: \($0))" } ?? "") + variables)
    }

    private var defaultText: String? {
        switch kind {
        case .bool, .strings: nil
        case .string(let value): value.isEmpty ? nil : quoted(value)
        case .int(let value): String(value)
        case .float(let value): goText(value)
        case .duration(let value): value.goText
        }
    }

    /// The first word in backquotes, and the text without these.
    private var unquoted: (String?, String) {
        let parts = usage.split(separator: "`", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        return parts.count < 3 ? (nil, usage) : (parts[1], parts.joined())
    }
}

private func indented(_ text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return lines.enumerated().map { $0 == 0 || $1.isEmpty ? String($1) : "   " + $1 }.joined(separator: "\n")
}

/// Two columns, two spaces apart, indented by three.
private func aligned(_ rows: [(String, String)]) -> String {
    let width = rows.map(\.0.unicodeScalars.count).max() ?? 0
    return rows.map { name, text in
        "   " + name + String(repeating: " ", count: width - name.unicodeScalars.count + 2) + text
    }.joined(separator: "\n")
}
