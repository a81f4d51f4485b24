// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

import java.util.Random;

/// Rotations that spread every channel evenly over all channels, of any size.
///
/// They are made of an orthogonal matrix H whose first row is constant: the Kronecker product of a
/// small one and of Sylvester's Hadamard matrix of a power of two. The small one is a Hadamard
/// matrix by Paley's constructions where some size fits, with a prime q: q + 1 where q = 3 mod 4, 2
/// (q + 1) where q = 1 mod 4. That is 12 for 768 and 3072, 20 for 2560 and 5120, 28 for 3584, 36
/// for 576 and 1152. For what remains (a size that is odd, or twice an odd number, or whose primes
/// do not fit) it is the discrete Hartley transform of the odd part, whose entries are at most 1.42
/// times as large as the mean.
public final class Hadamard implements Rotation {
    /// Largest Paley matrix that is looked for.
    private static final int LARGEST = 1024;

    private final int size;

    /// Of the Sylvester part.
    private final int low;

    /// `[small][small]`, orthonormal, its first row constant
    private final double[][] small;

    /// 1 or -1 for each channel.
    private final double[] signs;

    private Hadamard(int size, long seed) {
        this.size = size;
        small = small(size);
        low = size / small.length;
        Random random = new Random(seed);
        signs = new double[size];
        for (int i = 0; i < size; i++) {
            signs[i] = random.nextBoolean() ? 1 : -1;
        }
    }

    /// `H diag(signs)`: the randomised Hadamard transform of QuaRot.
    public static Rotation random(int size, long seed) {
        return new Hadamard(size, seed);
    }

    /// `H^T diag(1, signs) H`: the mean over channels stays what it is, so that a LayerNorm, which
    /// subtracts it, commutes with the rotation as an RMS norm does with any.
    public static Rotation keepingMean(int size, long seed) {
        Hadamard h = new Hadamard(size, seed);
        h.signs[0] = 1;
        return h.new Conjugate();
    }

    @Override
    public int rows() {
        return size;
    }

    @Override
    public int cols() {
        return size;
    }

    @Override
    public double at(int row, int col) {
        return small[row / low][col / low]
                * sylvester(row % low, col % low)
                * signs[col]
                / Math.sqrt(low);
    }

    /// 1 or -1.
    private static int sylvester(int row, int col) {
        return 1 - 2 * (Integer.bitCount(row & col) & 1);
    }

    /// `H^T diag(signs) H`. Rows of Sylvester's matrix are multiplied by the exclusive or of their
    /// numbers, so that a table of `[small][small][low]` has all there is.
    private final class Conjugate implements Rotation {
        private final double[][][] table = new double[small.length][small.length][low];

        Conjugate() {
            for (int k = 0; k < small.length; k++) {
                double[] sums = new double[low];
                for (int l = 0; l < low; l++) {
                    for (int j = 0; j < low; j++) {
                        sums[l] += sylvester(l, j) * signs[k * low + j] / low;
                    }
                }
                for (int r = 0; r < small.length; r++) {
                    for (int c = 0; c < small.length; c++) {
                        double both = small[k][r] * small[k][c];
                        for (int l = 0; l < low; l++) {
                            table[r][c][l] += both * sums[l];
                        }
                    }
                }
            }
        }

        @Override
        public int rows() {
            return size;
        }

        @Override
        public int cols() {
            return size;
        }

        @Override
        public double at(int row, int col) {
            return table[row / low][col / low][row % low ^ col % low];
        }
    }

    private static double[][] small(int size) {
        int odd = size >> Integer.numberOfTrailingZeros(size);
        if (odd == 1) {
            return new double[][] {{1}};
        }
        for (int order = 4 * odd; order <= LARGEST && size % order == 0; order *= 2) {
            if (isPrime(order - 1)) {
                return normal(first(order - 1));
            }
            if (isPrime(order / 2 - 1) && order / 2 % 4 == 2) {
                return normal(second(order / 2 - 1));
            }
        }
        return hartley(odd);
    }

    private static boolean isPrime(int n) {
        for (int d = 2; d * d <= n; d++) {
            if (n % d == 0) {
                return false;
            }
        }
        return n > 1;
    }

    /// `cos(2 pi i j / n) + sin(2 pi i j / n)`, over the root of n.
    private static double[][] hartley(int n) {
        double[][] h = new double[n][n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                // StrictMath: the same bits everywhere.
                double angle = 2 * StrictMath.PI * ((long) i * j % n) / n;
                h[i][j] = (StrictMath.cos(angle) + StrictMath.sin(angle)) / Math.sqrt(n);
            }
        }
        return h;
    }

    /// Paley's first construction, `I + S`: order q + 1 for a prime q = 3 mod 4.
    private static double[][] first(int q) {
        double[][] h = conference(q, -1);
        for (int i = 0; i <= q; i++) {
            h[i][i] = 1;
        }
        return h;
    }

    /// Paley's second, `C x [1 1; 1 -1] + I x [1 -1; -1 -1]`: order 2 (q + 1) for a prime q = 1 mod
    /// 4.
    private static double[][] second(int q) {
        double[][] c = conference(q, 1);
        double[][] h = new double[2 * (q + 1)][2 * (q + 1)];
        for (int i = 0; i < h.length; i++) {
            for (int j = 0; j < h.length; j++) {
                int corner = i % 2 * j % 2 == 1 ? -1 : 1;
                int diagonal = i % 2 == 0 && j % 2 == 0 ? 1 : -1;
                h[i][j] = i / 2 == j / 2 ? diagonal : corner * c[i / 2][j / 2];
            }
        }
        return h;
    }

    /// `[0 1; sign Q]` with Q[i][j] 1 where i - j is a square modulo q, else -1, and 0 on the
    /// diagonal.
    private static double[][] conference(int q, int sign) {
        boolean[] square = new boolean[q];
        for (int i = 1; i < q; i++) {
            square[(int) ((long) i * i % q)] = true;
        }
        double[][] c = new double[q + 1][q + 1];
        for (int i = 0; i < q; i++) {
            c[0][i + 1] = 1;
            c[i + 1][0] = sign;
            for (int j = 0; j < q; j++) {
                c[i + 1][j + 1] = i == j ? 0 : square[Math.floorMod(i - j, q)] ? 1 : -1;
            }
        }
        return c;
    }

    /// With a first row of ones, all over the root of the order.
    private static double[][] normal(double[][] h) {
        double[] first = h[0].clone();
        for (double[] row : h) {
            for (int j = 0; j < row.length; j++) {
                row[j] *= first[j] / Math.sqrt(h.length);
            }
        }
        return h;
    }
}
