// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.nio.file.Path;

/// A file of several: .txt, or .jsonl with "text" or "messages".
///
/// @param weight its part of the windows is its weight over the sum of all
public record WeightedText(Path file, int weight) {}
