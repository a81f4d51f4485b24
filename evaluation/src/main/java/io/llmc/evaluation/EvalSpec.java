// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.UserException;
import java.nio.file.Path;

/// What to measure.
///
/// @param model a model directory; its tokenizer is used for both models
/// @param against the original that it is compared with; null for none
/// @param data a `.txt` file, or a `.jsonl` file with `text` or `messages` in every line
/// @param window tokens of one forward pass
/// @param stride between windows that slide; 0 for half a window; without meaning in other
///   conventions
/// @param maxWindows the first ones of the text; 0 for all
public record EvalSpec(
        Path model,
        Path against,
        Path data,
        int window,
        Convention convention,
        int stride,
        int maxWindows) {
    /// @throws UserException naming the flag whose value cannot be
    public EvalSpec {
        if (model == null || convention == null) {
            throw new IllegalArgumentException("a model and a convention are needed");
        }
        if (data == null) {
            throw new UserException("no text to evaluate on is given", "name one with {data} FILE");
        }
        int smallest = convention == Convention.LLAMA_CPP ? 4 : 2;
        if (window < smallest) {
            throw new UserException(
                    "{window} is %d, expected at least %d".formatted(window, smallest), "");
        }
        if (maxWindows < 0) {
            throw new UserException(
                    "{maxWindows} is %d, expected 0 for all windows, or more".formatted(maxWindows),
                    "");
        }
        stride = stride == 0 ? window / 2 : stride;
        if (convention == Convention.SLIDING && (stride < 1 || stride >= window)) {
            throw new UserException(
                    "{stride} is %d, expected 1 to %d: below the window, so that every token is scored"
                            .formatted(stride, window - 1),
                    "");
        }
    }
}
