// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import io.llmc.evaluation.Continuation;
import io.llmc.evaluation.tasks.Question.Request;
import io.llmc.formats.UserException;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.jinja.values.Spaces;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

/// Questions as token ids, as lm-eval's `_encode_pair` and `get_rolling_token_windows` make them.
final class Encoder {
    private final Tokenizer tokenizer;
    private final OptionalInt prefix;
    private final int longest;

    /// Consecutive requests mostly share it.
    private String lastContext = "";

    private int[] lastIds = {};

    /// @param prefix stands where there is no context: the id that begins a text, else the one that
    ///   ends it
    /// @param longest ids that the model sees at once
    Encoder(Tokenizer tokenizer, OptionalInt prefix, int longest) {
        this.tokenizer = tokenizer;
        this.prefix = prefix;
        this.longest = longest;
    }

    /// @param where for errors: the item's file and line
    /// @throws UserException where the continuation is longer than what the model sees
    Continuation pair(Request request, Doc where) {
        if (request.context().isEmpty()) {
            return alone(request.continuation(), where);
        }
        // Blanks belong to what follows: tokens begin with them.
        String context = Spaces.stripEnd(request.context());
        int[] before = context(context);
        int[] all = ids(request.context() + request.continuation());
        if (before.length == 0) {
            return continuation(new int[] {needPrefix(where)}, all, where);
        }
        int from = Math.min(before.length, all.length);
        return continuation(before, Arrays.copyOfRange(all, from, all.length), where);
    }

    private Continuation alone(String text, Doc where) {
        int[] all = tokenizer.encode(text, false);
        int first = needPrefix(where);
        return all.length > 1 && all[0] == first
                ? continuation(Arrays.copyOf(all, 1), Arrays.copyOfRange(all, 1, all.length), where)
                : continuation(new int[] {first}, all, where);
    }

    private Continuation continuation(int[] context, int[] ids, Doc where) {
        if (ids.length == 0) {
            throw where.wrong("a continuation adds no token to its context");
        }
        if (ids.length > longest) {
            throw new UserException(
                    "%s: %s: a continuation has %,d tokens, but the model sees %,d at once"
                            .formatted(where.file(), where.place(), ids.length, longest),
                    "raise {maxLength} where it is given, or leave the item out");
        }
        return Continuation.of(context, ids, longest);
    }

    /// A document in windows: each but the first has the id before it as context, the last one as
    /// many ids as fit.
    List<Continuation> rolling(String text, Doc where) {
        int[] ids = ids(text);
        int[] all = new int[ids.length + 1];
        all[0] = needPrefix(where);
        System.arraycopy(ids, 0, all, 1, ids.length);
        List<Continuation> windows = new ArrayList<>();
        for (int from = 0; from < ids.length; from += longest) {
            int to = Math.min(ids.length, from + longest);
            int begin = from == 0 ? 0 : to - longest;
            windows.add(
                    new Continuation(
                            Arrays.copyOfRange(all, begin, to),
                            Arrays.copyOfRange(ids, from, to),
                            0));
        }
        return windows;
    }

    private int needPrefix(Doc where) {
        return prefix.orElseThrow(() ->
                new UserException(
                        "%s: %s: there is no context, and the tokenizer has no token that begins or ends a text"
                                .formatted(where.file(), where.place()),
                        "say in tokenizer_config.json which one is its bos_token"));
    }

    private int[] context(String text) {
        if (!text.equals(lastContext)) {
            lastIds = ids(text);
            lastContext = text;
        }
        return lastIds;
    }

    /// With the token that the tokenizer puts before every text, once.
    private int[] ids(String text) {
        int[] ids = tokenizer.encode(text, false);
        OptionalInt bos = tokenizer.bos();
        if (bos.isEmpty() || ids.length > 0 && ids[0] == bos.getAsInt()) {
            return ids;
        }
        int[] begun = new int[ids.length + 1];
        begun[0] = bos.getAsInt();
        System.arraycopy(ids, 0, begun, 1, ids.length);
        return begun;
    }
}
