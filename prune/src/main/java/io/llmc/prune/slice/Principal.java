// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.slice;

import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.EigenDecomposition_F64;

/// Principal directions of a covariance.
final class Principal {
    private Principal() {}

    /// The directions of most variance, and the share of the variance in them.
    ///
    /// @param rows `[kept][n]`, orthonormal, the most important first
    record Directions(double[][] rows, double share) {}

    /// @param covariance `[n, n]`, symmetric
    static Directions of(double[] covariance, int n, int kept) {
        EigenDecomposition_F64<DMatrixRMaj> eigen = DecompositionFactory_DDRM.eig(n, true, true);
        if (!eigen.decompose(new DMatrixRMaj(n, n, true, covariance.clone()))) {
            throw new IllegalStateException("the covariance has no eigenvectors");
        }
        List<Integer> order =
                IntStream.range(0, n)
                        .boxed()
                        .sorted(
                                Comparator.comparingDouble(
                                        (Integer i) -> -eigen.getEigenvalue(i).getReal()))
                        .toList();
        double[][] rows = new double[kept][n];
        double inside = 0;
        double all = 0;
        for (int k = 0; k < n; k++) {
            int i = order.get(k);
            all += eigen.getEigenvalue(i).getReal();
            if (k < kept) {
                inside += eigen.getEigenvalue(i).getReal();
                DMatrixRMaj vector = eigen.getEigenVector(i);
                for (int j = 0; j < n; j++) {
                    rows[k][j] = vector.get(j);
                }
            }
        }
        return new Directions(rows, all > 0 ? inside / all : 1);
    }
}
