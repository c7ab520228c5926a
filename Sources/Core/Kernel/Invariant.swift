// What every other module may count on: assertions that keep their words in release builds.

/// Stops the process when the project's own logic is wrong. For wrong input or a broken world throw a typed error instead.
/// Built on `fatalError`, because `precondition` loses its message under `-O`.

package func invariant(
    _ condition: @autoclosure () -> Bool, _ message: @autoclosure () -> String,
    file: StaticString = #fileID, line: UInt = #line
) {
    if !condition() { fatalError("invariant broken: \(message())", file: file, line: line) }
}

/// Marks a place that the project's own logic never reaches.
package func unreachable(_ message: String, file: StaticString = #fileID, line: UInt = #line) -> Never {
    fatalError("invariant broken: \(message)", file: file, line: line)
}
