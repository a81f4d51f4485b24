// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import java.util.stream.IntStream;

/// Least squares in the written-out formulas, in F64.
public final class Plain {
    private Plain() {}

    /// `x^T x` of rows x.
    public static double[][] gram(double[][] x) {
        int n = x[0].length;
        double[][] h = new double[n][n];
        for (double[] row : x) {
            for (int i = 0; i < n; i++) {
                for (int j = 0; j < n; j++) {
                    h[i][j] += row[i] * row[j];
                }
            }
        }
        return h;
    }

    public static double[][] part(double[][] h, int[] rows, int[] columns) {
        double[][] part = new double[rows.length][columns.length];
        for (int r = 0; r < rows.length; r++) {
            for (int c = 0; c < columns.length; c++) {
                part[r][c] = h[rows[r]][columns[c]];
            }
        }
        return part;
    }

    /// With `damping` times the mean of the diagonal added to it.
    public static double[][] damped(double[][] h, double damping) {
        int n = h.length;
        double mean = IntStream.range(0, n).mapToDouble(i -> h[i][i]).average().orElseThrow();
        double[][] sum = part(h, IntStream.range(0, n).toArray(), IntStream.range(0, n).toArray());
        for (int i = 0; i < n; i++) {
            sum[i][i] += damping * mean;
        }
        return sum;
    }

    /// Row vectors `x` with `x a = b`: Gauss with pivots, for symmetric a.
    static double[][] solve(double[][] symmetric, double[][] b) {
        int n = symmetric.length;
        double[][] work = new double[n][n + b.length];
        for (int i = 0; i < n; i++) {
            System.arraycopy(symmetric[i], 0, work[i], 0, n);
            for (int r = 0; r < b.length; r++) {
                work[i][n + r] = b[r][i];
            }
        }
        for (int i = 0; i < n; i++) {
            int pivot = i;
            for (int r = i + 1; r < n; r++) {
                pivot = Math.abs(work[r][i]) > Math.abs(work[pivot][i]) ? r : pivot;
            }
            double[] swapped = work[i];
            work[i] = work[pivot];
            work[pivot] = swapped;
            for (int r = 0; r < n; r++) {
                double f = r == i ? 0 : work[r][i] / work[i][i];
                for (int c = i; f != 0 && c < work[i].length; c++) {
                    work[r][c] -= f * work[i][c];
                }
            }
        }
        double[][] x = new double[b.length][n];
        for (int r = 0; r < b.length; r++) {
            for (int i = 0; i < n; i++) {
                x[r][i] = work[i][n + r] / work[i][i];
            }
        }
        return x;
    }

    /// The weights of the inputs `kept` that come nearest to w over all inputs, damped by `damping`
    /// times the mean of `h`'s diagonal among them: the normal equations, not the formula of
    /// corrections.
    public static double[][] refit(double[][] w, double[][] h, int[] kept, double damping) {
        int n = h.length;
        double[][] inside = part(h, kept, kept);
        double[][] damped = damped(inside, damping);
        double added = damped[0][0] - inside[0][0];
        int[] all = IntStream.range(0, n).toArray();
        double[][] toKept = part(h, all, kept);
        double[][] right = new double[w.length][kept.length];
        for (int o = 0; o < w.length; o++) {
            for (int k = 0; k < kept.length; k++) {
                right[o][k] = added * w[o][kept[k]];
                for (int i = 0; i < n; i++) {
                    right[o][k] += w[o][i] * toKept[i][k];
                }
            }
        }
        return solve(damped, right);
    }

    /// `sum_o (a - b)_o h (a - b)_o^T`
    public static double distance(double[][] a, double[][] b, double[][] h) {
        double sum = 0;
        for (int o = 0; o < a.length; o++) {
            for (int i = 0; i < h.length; i++) {
                for (int j = 0; j < h.length; j++) {
                    sum += (a[o][i] - b[o][i]) * h[i][j] * (a[o][j] - b[o][j]);
                }
            }
        }
        return sum;
    }

    /// As wide as before, zero where nothing stayed.
    public static double[][] spread(double[][] columns, int[] kept, int all) {
        double[][] full = new double[columns.length][all];
        for (int o = 0; o < columns.length; o++) {
            for (int k = 0; k < kept.length; k++) {
                full[o][kept[k]] = columns[o][k];
            }
        }
        return full;
    }
}
