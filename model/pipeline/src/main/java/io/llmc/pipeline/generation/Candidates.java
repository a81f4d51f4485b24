// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.Arrays;
import java.util.BitSet;

/// Tokens that are still in question, in the order of their ids, and their scores. Every filter
/// leaves at least one.
///
/// Scores are floats, as in transformers, so that the same ones are equal; probabilities are
/// doubles.
final class Candidates {
    /// Distances from the best score within which the best tokens are looked for first: nearly all
    /// of a vocabulary lies far below, and need not be sorted.
    private static final float[] BANDS = {4, 8, 16, Float.POSITIVE_INFINITY};

    private final int[] ids;
    private final float[] scores;
    private final double[] p;
    private int count;

    Candidates(float[] logits) {
        ids = new int[logits.length];
        scores = logits.clone();
        p = new double[logits.length];
        count = logits.length;
        Arrays.setAll(ids, i -> i);
    }

    /// Divides positive scores of the tokens that are there already, multiplies negative ones.
    void penalise(BitSet seen, float penalty) {
        for (int i = seen.nextSetBit(0); i >= 0 && i < count; i = seen.nextSetBit(i + 1)) {
            scores[i] = scores[i] > 0 ? scores[i] / penalty : scores[i] * penalty;
        }
    }

    void divide(float temperature) {
        for (int i = 0; i < count; i++) {
            scores[i] /= temperature;
        }
    }

    void topK(int k) {
        if (k < count) {
            int[] best = bestOf(k, 0);
            keepFrom(scores[best[k - 1]]);
        }
    }

    void topP(double mass) {
        probabilities();
        int[] best = bestOf(1, mass);
        double sum = 0;
        int kept = 0;
        while (kept < best.length && sum < mass) {
            sum += p[best[kept++]];
        }
        int[] positions = Arrays.copyOf(best, kept);
        Arrays.sort(positions);
        keep(positions, kept);
    }

    void minP(double part) {
        probabilities();
        keepProbable(part * Arrays.stream(p, 0, count).max().orElseThrow());
    }

    void typicalP(double mass) {
        probabilities();
        double entropy = entropy();
        long[] order = new long[count];
        for (int i = 0; i < count; i++) {
            float distance = (float) Math.abs(-Math.log(p[i]) - entropy);
            order[i] = (long) Float.floatToIntBits(distance) << 32 | i;
        }
        Arrays.sort(order);
        double sum = 0;
        int last = 0;
        while (last < count - 1 && (sum += p[(int) order[last]]) < mass) {
            last++;
        }
        // Those that are equally far stay together.
        while (last < count - 1 && order[last + 1] >>> 32 == order[last] >>> 32) {
            last++;
        }
        int[] positions = new int[last + 1];
        Arrays.setAll(positions, i -> (int) order[i]);
        Arrays.sort(positions);
        keep(positions, positions.length);
    }

    void epsilon(double cutoff) {
        probabilities();
        keepProbable(cutoff);
    }

    void eta(double cutoff) {
        probabilities();
        keepProbable(Math.min(cutoff, Math.sqrt(cutoff) * Math.exp(-entropy())));
    }

    Distribution distribution() {
        probabilities();
        return new Distribution(Arrays.copyOf(ids, count), Arrays.copyOf(p, count));
    }

    /// The token with the highest score.
    int best() {
        return ids[best(scores, count)];
    }

    /// Where the highest of the first scores is; of equal ones the first.
    static int best(float[] scores, int count) {
        int best = 0;
        for (int i = 1; i < count; i++) {
            best = scores[i] > scores[best] ? i : best;
        }
        return best;
    }

    /// The first tokens by falling scores.
    int[] top(int number) {
        int[] best = bestOf(Math.min(number, count), 0);
        return Arrays.stream(best).limit(number).map(i -> ids[i]).toArray();
    }

    private float highest() {
        return scores[best(scores, count)];
    }

    private void probabilities() {
        double highest = highest();
        double sum = 0;
        for (int i = 0; i < count; i++) {
            p[i] = Math.exp(scores[i] - highest);
            sum += p[i];
        }
        for (int i = 0; i < count; i++) {
            p[i] /= sum;
        }
    }

    private double entropy() {
        double sum = 0;
        for (int i = 0; i < count; i++) {
            sum -= p[i] == 0 ? 0 : p[i] * Math.log(p[i]);
        }
        return sum;
    }

    /// Positions of the best, best first: at least `number`, and of at least the probability `mass`
    /// together, or all.
    private int[] bestOf(int number, double mass) {
        float highest = highest();
        for (float band : BANDS) {
            int[] within = within(highest - band);
            double sum = mass > 0 ? Arrays.stream(within).mapToDouble(i -> p[i]).sum() : 0;
            if (within.length == count || within.length >= number && sum >= mass) {
                return sorted(within);
            }
        }
        throw new IllegalStateException("scores are not numbers");
    }

    private int[] within(float lowest) {
        int[] found = new int[count];
        int n = 0;
        for (int i = 0; i < count; i++) {
            if (scores[i] >= lowest) {
                found[n++] = i;
            }
        }
        return Arrays.copyOf(found, n);
    }

    /// By falling scores; equal ones by their ids.
    private int[] sorted(int[] positions) {
        long[] order = new long[positions.length];
        for (int i = 0; i < order.length; i++) {
            int bits = Float.floatToIntBits(scores[positions[i]]);
            int rising = bits < 0 ? bits ^ Integer.MAX_VALUE : bits;
            order[i] = (long) ~rising << 32 | positions[i];
        }
        Arrays.sort(order);
        int[] sorted = new int[order.length];
        Arrays.setAll(sorted, i -> (int) order[i]);
        return sorted;
    }

    private void keepFrom(float lowest) {
        int[] kept = within(lowest);
        keep(kept, kept.length);
    }

    /// The best stays, however improbable.
    private void keepProbable(double least) {
        float highest = highest();
        int[] kept = new int[count];
        int n = 0;
        for (int i = 0; i < count; i++) {
            if (p[i] >= least || scores[i] == highest) {
                kept[n++] = i;
            }
        }
        keep(kept, n);
    }

    /// @param positions rising
    private void keep(int[] positions, int number) {
        for (int i = 0; i < number; i++) {
            ids[i] = ids[positions[i]];
            scores[i] = scores[positions[i]];
        }
        count = number;
    }
}
