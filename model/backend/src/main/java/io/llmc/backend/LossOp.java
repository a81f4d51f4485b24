// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// What compares logits, hidden states and attention with targets or with those of another model.
public sealed interface LossOp extends Op {
    /// Losses of each row of a student's logits against a teacher's, or against the token that came
    /// next, and the gradient of their weighted sum.
    ///
    /// With `p = softmax(teacher / T)`, `q = softmax(student / T)` and `m = beta p + (1 - beta) q`:
    /// `kl = sum p log(p/q)`, `reverse = sum q log(q/p)`, `jsd = beta sum p log(p/m) + (1 - beta)
    /// sum q log(q/m)`, each with its gradient times `T^2` (Hinton et al., 2015, arXiv 1503.02531;
    /// Agarwal et al., 2023, arXiv 2306.13649); `ce = -log softmax(student)[target]`.
    ///
    /// @param dlogits F32 `[rows, vocabulary]`: `scale` times the gradient of the weighted sum
    /// @param losses F64 `[rows, 4]`: kl, reverse, jsd, ce, without weights; 0 where the weight is
    ///   0
    /// @param teacher null where only `ce` counts
    /// @param targets I32 `[rows]`, below 0 for none
    record DistillLoss(
            Tensor dlogits,
            Tensor losses,
            Tensor student,
            Tensor teacher,
            Tensor targets,
            LossWeights weights,
            float scale)
            implements LossOp {
        public DistillLoss {
            require(
                    dlogits.like(student)
                            && f32(student)
                            && losses.is(student.rows(), 4)
                            && losses.dtype() == DType.F64
                            && (teacher == null ? !weights.asksTeacher() : teacher.like(student))
                            && targets.isVector(student.rows())
                            && targets.dtype() == DType.I32,
                    "distillLoss",
                    dlogits,
                    losses,
                    student,
                    teacher,
                    targets);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dlogits, losses, student, teacher, targets);
        }
    }

    /// The `k` largest log-probabilities of `softmax(logits / temperature)` of each row, and whose
    /// they are: in falling order of the logits, the lower id first where two are equal.
    ///
    /// @param values F32 `[rows, k]`
    /// @param ids I32 `[rows, k]`
    /// @param logits F32 `[rows, vocabulary]`
    record TopLogProbabilities(Tensor values, Tensor ids, Tensor logits, float temperature)
            implements LossOp {
        public TopLogProbabilities {
            require(
                    values.shape().equals(ids.shape())
                            && ids.dtype() == DType.I32
                            && values.rows() == logits.rows()
                            && values.cols() <= logits.cols()
                            && f32(values, logits)
                            && temperature > 0,
                    "topLogProbabilities",
                    values,
                    ids,
                    logits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(values, ids, logits);
        }
    }

    /// What becomes of the probability that a teacher gives to the tokens outside of its top k.
    enum Missing {
        /// All other tokens together are one outcome more, for teacher and student.
        REST,
        /// The teacher gives it to its top k, in proportion: the others get nothing.
        ZERO
    }

    /// As [DistillLoss], against the top k of a teacher.
    ///
    /// The outcomes are the k tokens and, as one more, the rest: the student's probability of it is
    /// the sum of its tokens' own; the teacher's is `1 - sum of the top k`, at least 2^-24, at most
    /// as much as if every token of the rest were as likely as the least of the top k, and 0 where
    /// `missing` is `ZERO`. The teacher's outcomes are then normalised, and the losses are those of
    /// [DistillLoss] between two distributions over k + 1 outcomes. By the log-sum inequality none
    /// of them is above the dense one, but for the rounding of that difference; for `kl` the
    /// difference is the teacher's rest times `KL(teacher in the rest, student in the rest)`. The
    /// gradient of the rest's logit goes to its tokens in proportion to the student's
    /// probabilities.
    ///
    /// @param dlogits F32 `[rows, vocabulary]`: `scale` times the gradient of the weighted sum
    /// @param losses F64 `[rows, 4]`: kl, reverse, jsd, ce, without weights; 0 where the weight is
    ///   0
    /// @param ids I32 `[rows, k]`, all different in a row
    /// @param teacher F32 `[rows, k]`: log-probabilities at `weights.temperature()`, falling
    /// @param targets I32 `[rows]`, below 0 for none
    record DistillTopLoss(
            Tensor dlogits,
            Tensor losses,
            Tensor student,
            Tensor ids,
            Tensor teacher,
            Tensor targets,
            LossWeights weights,
            Missing missing,
            float scale)
            implements LossOp {
        public DistillTopLoss {
            require(
                    dlogits.like(student)
                            && f32(student, teacher)
                            && losses.is(student.rows(), 4)
                            && losses.dtype() == DType.F64
                            && ids.dtype() == DType.I32
                            && ids.shape().equals(teacher.shape())
                            && ids.rows() == student.rows()
                            && ids.cols() <= student.cols()
                            && targets.isVector(student.rows())
                            && targets.dtype() == DType.I32,
                    "distillTopLoss",
                    dlogits,
                    losses,
                    student,
                    ids,
                    teacher,
                    targets);
            if (missing == Missing.ZERO && weights.reverse() != 0) {
                throw new IllegalArgumentException(
                        "the reverse KL from a teacher that gives nothing to most tokens is"
                                + " infinite");
            }
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(dlogits, losses, student, ids, teacher, targets);
        }
    }

    /// @param temperature of the first three losses
    /// @param beta of jsd: the teacher's part of the mixture
    record LossWeights(
            float kl, float reverse, float jsd, float ce, float temperature, float beta) {
        public LossWeights {
            if (!(temperature > 0) || !(beta > 0 && beta < 1)) {
                throw new IllegalArgumentException(
                        "temperature %s, beta %s".formatted(temperature, beta));
            }
        }

        public boolean asksTeacher() {
            return kl != 0 || reverse != 0 || jsd != 0;
        }
    }

    /// Distance of each row from a target row, and its gradient: `mse = mean (x - t)^2`, `cosine =
    /// 1
    /// - x t / (|x| |t|)`.
    ///
    /// @param dx accumulates `scale` times the gradient; null where nobody learns
    /// @param losses F64 `[rows]`
    record AccumulateHiddenLoss(
            Tensor dx, Tensor losses, Tensor x, Tensor target, Distance distance, float scale)
            implements LossOp {
        public AccumulateHiddenLoss {
            require(
                    (dx == null || dx.like(x))
                            && x.like(target)
                            && f32(x)
                            && losses.isVector(x.rows())
                            && losses.dtype() == DType.F64,
                    "hiddenLoss",
                    dx,
                    losses,
                    x,
                    target);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, losses, x, target);
        }
    }

    /// How far two rows are from each other.
    enum Distance {
        MSE,
        COSINE
    }

    /// How far the attention of each query is from a teacher's: `KL(teacher, student)` of its
    /// probabilities over the keys, head by head. What a sink takes is no key's and counts for
    /// nothing.
    ///
    /// @param dq and dk accumulate `scale` times the gradient of the sum over heads; null where
    ///   nobody learns
    /// @param losses F64 `[queries, heads]`
    /// @param teacher as many heads with the same reach
    record AccumulateAttentionLoss(
            Tensor dq, Tensor dk, Tensor losses, Scores student, Scores teacher, float scale)
            implements LossOp {
        public AccumulateAttentionLoss {
            require(
                    (dq == null) == (dk == null)
                            && (dq == null || dq.like(student.q()) && dk.like(student.k()))
                            && losses.is(student.q().rows(), student.spec().heads().count())
                            && losses.dtype() == DType.F64
                            && student.spec().heads().count() == teacher.spec().heads().count()
                            && student.spec().reach().equals(teacher.spec().reach())
                            && student.q().rows() == teacher.q().rows(),
                    "attentionLoss",
                    dq,
                    dk,
                    losses,
                    student.q(),
                    student.k(),
                    teacher.q(),
                    teacher.k());
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(some(dq, dk, losses), student.operands(), teacher.operands())
                    .flatMap(t -> t);
        }
    }

    /// What the probabilities of keys are made of, as in [ForwardOp.Attention].
    ///
    /// @param slopes null for none
    record Scores(Tensor q, Tensor k, Tensor slopes, AttentionSpec spec) {
        public Scores {
            require(
                    q.rows() % spec.reach().length() == 0
                            && q.cols() == spec.heads().queryWidth()
                            && k.is(
                                    q.rows() / spec.reach().length() * spec.reach().keys(),
                                    spec.heads().keyWidth())
                            && Shapes.each(spec.heads(), slopes)
                            && f32(q, k),
                    "scores",
                    q,
                    k,
                    slopes);
        }

        Stream<Tensor> operands() {
            return some(q, k, slopes);
        }
    }

    /// `out[t] = -log softmax(logits[t,:])[targets[t]]`, the sum in F64; targets I32 `[tokens]`.
    record NegativeLogLikelihood(Tensor out, Tensor logits, Tensor targets) implements LossOp {
        public NegativeLogLikelihood {
            require(
                    out.isVector(logits.rows())
                            && targets.isVector(logits.rows())
                            && targets.dtype() == DType.I32
                            && f32(out, logits),
                    "negativeLogLikelihood",
                    out,
                    logits,
                    targets);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, logits, targets);
        }
    }

    /// `out[t] = sum_v p[t,v] (log p[t,v] - log q[t,v])` of the softmaxes of two rows of logits, in
    /// F64.
    record Divergence(Tensor out, Tensor pLogits, Tensor qLogits) implements LossOp {
        public Divergence {
            require(
                    out.isVector(pLogits.rows()) && pLogits.like(qLogits) && f32(out, pLogits),
                    "divergence",
                    out,
                    pLogits,
                    qLogits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, pLogits, qLogits);
        }
    }

    /// `out[t]` = the column of the largest value of a row, the first of equals; out I32 `[rows]`.
    record ArgMax(Tensor out, Tensor x) implements LossOp {
        public ArgMax {
            require(out.isVector(x.rows()) && out.dtype() == DType.I32 && f32(x), "argMax", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }
}
