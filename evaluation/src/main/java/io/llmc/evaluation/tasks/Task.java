// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.List;

/// A task with its items.
///
/// @param name that results have it under
/// @param items that are asked
/// @param solved items that they are shown; empty for none
record Task(String name, TaskSpec spec, List<Doc> items, List<Doc> solved) {
    /// Every item as a question; made anew at every call.
    Questions questions() {
        return new Questions(spec, solved);
    }
}
