// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.formats.UserException;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.CalibrationSpec;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.function.Function;
import java.util.stream.IntStream;

/// More calibration windows where experts would see too few tokens: those of the text that give
/// them most. As many windows as were asked for are looked at together, so that this takes no more
/// memory than calibration does; at most as many come on top.
record TopUp(
        LanguageModel model,
        CalibrationSpec spec,
        Function<int[], Windows> text,
        Path spill,
        Progress progress) {
    /// How often more of the text is looked at, at most.
    private static final int ROUNDS = 8;

    /// Experts that are named one by one.
    private static final int NAMED = 8;

    /// Most windows that come on top.
    static int most(CalibrationSpec spec) {
        return spec.samples();
    }

    /// @param covered what the windows reach
    /// @param least tokens that every expert should see
    /// @param refuses whether all of them must
    /// @return numbers of the windows to add, as [CalibrationText#more] counts them
    /// @throws UserException naming the first expert that sees fewer
    double[] extra(Coverage covered, long least, boolean refuses) {
        SequencedMap<String, Long> lacking = new LinkedHashMap<>();
        covered.tokens()
                .forEach((expert, tokens) -> {
                    if (tokens < least) {
                        lacking.put(expert, least - tokens);
                    }
                });
        int rare = lacking.size();
        List<Integer> extra = new ArrayList<>();
        int looked = spec.samples();
        // A look is a pass through the model: none where there is no room for what it may find, nor
        // behind one that found nothing.
        int before = -1;
        for (int round = 0;
                round < ROUNDS
                        && !lacking.isEmpty()
                        && before < extra.size()
                        && extra.size() < most(spec);
                round++) {
            before = extra.size();
            int[] numbers =
                    IntStream.range(round * spec.samples(), (round + 1) * spec.samples()).toArray();
            Windows more = text.apply(numbers);
            if (more == null) {
                break;
            }
            looked += more.count();
            choose(Coverage.of(model, more, spill, progress), more, numbers[0], lacking, extra);
        }
        if (!extra.isEmpty()) {
            progress.note(
                    "%d windows more than asked for give %d experts the %,d tokens that they lacked"
                            .formatted(extra.size(), rare - lacking.size(), least));
        }
        List<String> sentences = new ArrayList<>();
        for (Map.Entry<String, Long> e : lacking.entrySet()) {
            sentences.add(
                    "%s sees %,d of %,d tokens in %,d windows of the calibration text"
                            .formatted(e.getKey(), least - e.getValue(), least, looked));
        }
        if (refuses && !sentences.isEmpty()) {
            throw new UserException(
                    sentences.getFirst(),
                    "add calibration data, lower {minExpertTokens}, or pass {rareExperts} rtn");
        }
        sentences.stream().limit(NAMED).forEach(progress::note);
        if (lacking.size() > NAMED) {
            progress.note("and so do %d experts more".formatted(lacking.size() - NAMED));
        }
        return extra.stream().mapToDouble(Integer::doubleValue).toArray();
    }

    /// Takes the chunk that gives most to those that lack tokens, again and again.
    private void choose(
            Coverage found,
            Windows windows,
            int firstNumber,
            Map<String, Long> lacking,
            List<Integer> extra) {
        boolean[] taken = new boolean[found.chunks()];
        while (!lacking.isEmpty()) {
            int best = -1;
            long gain = 0;
            for (int c = 0; c < taken.length; c++) {
                long gained = taken[c] ? 0 : found.gain(c, lacking);
                if (gained > gain) {
                    gain = gained;
                    best = c;
                }
            }
            if (best < 0) {
                return;
            }
            int[] range = found.windows(best, windows.count());
            if (extra.size() + range[1] - range[0] > most(spec)) {
                return;
            }
            taken[best] = true;
            IntStream.range(range[0], range[1]).forEach(w -> extra.add(firstNumber + w));
            int chunk = best;
            lacking.replaceAll((expert, lacks) -> lacks - found.tokens(expert, chunk));
            lacking.values().removeIf(lacks -> lacks <= 0);
        }
    }
}
