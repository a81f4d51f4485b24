// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

import static jcuda.jcublas.JCublas2.cublasCreate;
import static jcuda.jcublas.JCublas2.cublasDestroy;
import static jcuda.jcublas.JCublas2.cublasGemmEx_new;
import static jcuda.jcublas.JCublas2.cublasGetVersion;
import static jcuda.jcublas.JCublas2.cublasSetMathMode;
import static jcuda.jcublas.JCublas2.cublasSetStream;

import io.llmc.formats.UserException;
import jcuda.Pointer;
import jcuda.cudaDataType;
import jcuda.driver.CUdeviceptr;
import jcuda.jcublas.cublasComputeType;
import jcuda.jcublas.cublasGemmAlgo;
import jcuda.jcublas.cublasHandle;
import jcuda.jcublas.cublasMath;
import jcuda.jcublas.cublasOperation;
import jcuda.jcublas.cublasStatus;
import jcuda.runtime.cudaStream_t;

/// Products of row-major matrices through cuBLAS, which is column-major: a row-major matrix is the
/// transpose of a column-major one, so the factors change places.
///
/// Sums are in F32 and TF32 is off. The same call on the same device gives the same bits; but a
/// row's bits may depend on how many rows there are, which those of our own kernels do not.
public final class Blas implements AutoCloseable {
    private final Gpu gpu;
    private final cublasHandle handle = new cublasHandle();

    /// @throws UserException where the library cannot be used
    public Blas(Gpu gpu) {
        this.gpu = gpu;
        Natives.blasProblem()
                .ifPresent(why -> {
                    throw new UserException(
                            why,
                            "set %s to the folder that holds it, or leave {math} out: llmc has products of its own"
                                    .formatted(Natives.LIBRARIES));
                });
        gpu.enter();
        check("cublasCreate", cublasCreate(handle));
        check("cublasSetStream", cublasSetStream(handle, new cudaStream_t(gpu.compute())));
        check("cublasSetMathMode", cublasSetMathMode(handle, cublasMath.CUBLAS_DEFAULT_MATH));
    }

    /// As cuBLAS counts: 120300 for 12.3.
    public int version() {
        int[] version = new int[1];
        check("cublasGetVersion", cublasGetVersion(handle, version));
        return version[0];
    }

    /// How a factor lies in memory.
    public enum Layout {
        /// As it is multiplied.
        PLAIN,
        /// Its transpose lies there.
        TRANSPOSED
    }

    /// A factor: where it is, its element type (F32 or BF16), and its layout.
    public record Factor(CUdeviceptr at, int type, Layout layout) {
        public static Factor f32(CUdeviceptr at, Layout layout) {
            return new Factor(at, cudaDataType.CUDA_R_32F, layout);
        }

        public static Factor bf16(CUdeviceptr at, Layout layout) {
            return new Factor(at, cudaDataType.CUDA_R_16BF, layout);
        }
    }

    /// `out[m,n] = alpha * a[m,k] b[k,n] + beta * out`, all rows without gaps; out F32.
    public void multiply(
            CUdeviceptr out, Factor a, Factor b, long m, long n, long k, float alpha, float beta) {
        strided(out, n, a, width(a, m, k), b, width(b, k, n), m, n, k, alpha, beta);
    }

    private static long width(Factor f, long rows, long cols) {
        return f.layout == Layout.PLAIN ? cols : rows;
    }

    /// As [#multiply], where rows lie `outPitch`, `aPitch` and `bPitch` elements apart.
    public void strided(
            CUdeviceptr out,
            long outPitch,
            Factor a,
            long aPitch,
            Factor b,
            long bPitch,
            long m,
            long n,
            long k,
            float alpha,
            float beta) {
        if (m == 0 || n == 0) {
            return;
        }
        gpu.beforeLibrary("cublasGemmEx");
        check(
                "cublasGemmEx",
                cublasGemmEx_new(
                        handle,
                        operation(b),
                        operation(a),
                        Math.toIntExact(n),
                        Math.toIntExact(m),
                        Math.toIntExact(k),
                        Pointer.to(new float[] {alpha}),
                        b.at,
                        b.type,
                        Math.toIntExact(bPitch),
                        a.at,
                        a.type,
                        Math.toIntExact(aPitch),
                        Pointer.to(new float[] {beta}),
                        out,
                        cudaDataType.CUDA_R_32F,
                        Math.toIntExact(outPitch),
                        cublasComputeType.CUBLAS_COMPUTE_32F,
                        cublasGemmAlgo.CUBLAS_GEMM_DEFAULT));
    }

    private static int operation(Factor f) {
        return f.layout == Layout.PLAIN ? cublasOperation.CUBLAS_OP_N : cublasOperation.CUBLAS_OP_T;
    }

    private void check(String call, int status) {
        if (status != cublasStatus.CUBLAS_STATUS_SUCCESS) {
            throw new CudaException(
                    gpu.device() + ": " + call, status, cublasStatus.stringFor(status), "cuBLAS");
        }
    }

    @Override
    public void close() {
        cublasDestroy(handle);
    }
}
