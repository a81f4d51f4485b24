// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.UserException;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/// Which tokens of a text are scored, and from how much context. Perplexities of different
/// conventions are different quantities: the name belongs beside every one that is shown.
///
/// In all three the text is tokenized once, without special tokens unless said, and the perplexity
/// is `exp` of the mean negative log-likelihood, in nats, over all scored tokens.
public enum Convention {
    /// Windows without overlap; each predicts its tokens 2 to L; the tail of the text is dropped.
    /// What papers on quantization print.
    GPTQ("gptq"),

    /// As llama.cpp's `llama-perplexity`: windows without overlap whose first token is replaced by
    /// BOS, which also begins the text, where the tokenizer adds one; each predicts the tokens
    /// after position `L/2`, which is `L/2 - 1` of them; the tail is dropped.
    LLAMA_CPP("llama.cpp"),

    /// As the documentation of transformers has it: windows begin every `stride` tokens, and each
    /// predicts what the one before it did not reach; the first predicts its tokens 2 to L; the
    /// last may be short. Nothing is dropped.
    SLIDING("sliding");

    private final String label;

    Convention(String label) {
        this.label = label;
    }

    /// The name that people write and read.
    public String label() {
        return label;
    }

    /// @throws UserException naming the conventions there are
    public static Convention parse(String text) {
        String wanted = text.strip().toLowerCase(Locale.ROOT);
        for (Convention c : values()) {
            if (c.label.equals(wanted)) {
                return c;
            }
        }
        throw new UserException(
                "\"" + text + "\" is not a perplexity convention",
                "known: "
                        + Arrays.stream(values())
                                .map(Convention::label)
                                .collect(Collectors.joining(", ")));
    }
}
