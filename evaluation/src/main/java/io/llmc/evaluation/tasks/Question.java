// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.List;

/// What a model is asked about one item.
///
/// @param requests one of each choice; of a document one, whose context is empty
/// @param key what the answers are held against
record Question(List<Request> requests, Key key) {
    /// How likely is the continuation behind the context?
    record Request(String context, String continuation) {}
}
