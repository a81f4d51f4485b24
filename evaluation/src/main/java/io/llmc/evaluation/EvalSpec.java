// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.evaluation.kld.KldShape;
import io.llmc.formats.UserException;
import java.nio.file.Path;

/// What to measure.
///
/// A base of llama.cpp is a model's predictions for a text: who compares with one needs no
/// original, and the base decides window and convention.
///
/// @param model a model directory; its tokenizer is used for both models
/// @param against the original that it is compared with; null for none
/// @param data a `.txt` file, or a `.jsonl` file with `text` or `messages` in every line; null
///   where the base brings the tokens
/// @param window tokens of one forward pass; 0 for that of the base, or 512
/// @param convention null for that of bases, or GPTQ
/// @param stride between windows that slide; 0 for half a window; without meaning in other
///   conventions
/// @param maxWindows the first ones of the text; 0 for all
/// @param kldBase to compare with; null for none
/// @param saveKldBase to make of the model's predictions; null for none
public record EvalSpec(
        Path model,
        Path against,
        Path data,
        int window,
        Convention convention,
        int stride,
        int maxWindows,
        Path kldBase,
        Path saveKldBase) {
    private static final int USUAL_WINDOW = 512;

    /// @throws UserException naming the flag whose value cannot be
    public EvalSpec {
        if (model == null) {
            throw new IllegalArgumentException("a model is needed");
        }
        if (data == null && kldBase == null) {
            throw new UserException("no text to evaluate on is given", "name one with {data} FILE");
        }
        requireOne(against, kldBase, saveKldBase);
        boolean bases = kldBase != null || saveKldBase != null;
        if (convention == null) {
            convention = bases ? Convention.LLAMA_CPP : Convention.GPTQ;
        }
        if (bases && convention != Convention.LLAMA_CPP) {
            throw new UserException(
                    "{convention} is %s, but a KLD base holds what llama.cpp scores"
                            .formatted(convention.label()),
                    "leave {convention} away");
        }
        if (window == 0 && kldBase == null) {
            window = USUAL_WINDOW;
        }
        int smallest = convention == Convention.LLAMA_CPP ? 4 : 2;
        if (window < smallest && !(window == 0 && kldBase != null)) {
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

    /// Of a model by itself or against another, without bases.
    public EvalSpec(
            Path model,
            Path against,
            Path data,
            int window,
            Convention convention,
            int stride,
            int maxWindows) {
        this(model, against, data, window, convention, stride, maxWindows, null, null);
    }

    private static void requireOne(Path against, Path kldBase, Path saveKldBase) {
        if (kldBase != null && against != null) {
            throw new UserException(
                    "{kldBase} and {against} are given, but the model is compared with one of them",
                    "leave one away");
        }
        if (saveKldBase != null && (against != null || kldBase != null)) {
            throw new UserException(
                    "{saveKldBase} keeps the predictions of one model, and {%s} names another"
                            .formatted(against == null ? "kldBase" : "against"),
                    "make the base of the original by itself, then compare with {kldBase}");
        }
    }

    /// The same, with the window of a base, and no more windows than it has.
    ///
    /// @throws UserException where another window was asked for
    EvalSpec within(KldShape base) {
        if (window != 0 && window != base.context()) {
            throw new UserException(
                    "{window} is %,d, but %s was made with %,d"
                            .formatted(window, kldBase, base.context()),
                    "leave {window} away");
        }
        return new EvalSpec(
                model,
                against,
                data,
                base.context(),
                convention,
                0,
                maxWindows == 0 ? base.chunks() : Math.min(maxWindows, base.chunks()),
                kldBase,
                saveKldBase);
    }
}
