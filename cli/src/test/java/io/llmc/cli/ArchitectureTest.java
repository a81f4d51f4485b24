// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.core.importer.Location;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.library.GeneralCodingRules;

/// What may know what.
@AnalyzeClasses(
        packages = "io.llmc",
        importOptions = {ImportOption.DoNotIncludeTests.class, ArchitectureTest.NoTestJars.class})
class ArchitectureTest {
    /// The tests of other modules that ours use.
    static final class NoTestJars implements ImportOption {
        @Override
        public boolean includes(Location location) {
            return !location.contains("-tests.jar");
        }
    }

    @ArchTest
    static final ArchRule vectorApiStaysInTheCpuBackend =
            only("io.llmc.backend.cpu", "jdk.incubator.vector..");

    @ArchTest
    static final ArchRule oneDnnStaysInTheCpuBackend =
            only("io.llmc.backend.cpu", "org.bytedeco..");

    @ArchTest static final ArchRule jcudaStaysInTheGpuModule = only("io.llmc.gpu..", "jcuda..");

    @ArchTest
    static final ArchRule nobodyKnowsTheGpuModule =
            noClasses()
                    .that()
                    .resideOutsideOfPackage("io.llmc.gpu..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAPackage("io.llmc.gpu..");

    /// Its tokenizers, and its schedules of learning rates.
    @ArchTest
    static final ArchRule djlStaysInTheTokenizerAndTheTraining =
            noClasses()
                    .that()
                    .resideOutsideOfPackages("io.llmc.tokenizer", "io.llmc.distill..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAPackage("ai.djl..");

    @ArchTest
    static final ArchRule methodsDoNotKnowEachOther =
            slices().matching("io.llmc.(quantize|prune|distill|evaluation)..")
                    .should()
                    .notDependOnEachOther();

    @ArchTest
    static final ArchRule yamlAndPicocliStayInTheCommandLine =
            only("io.llmc.cli..", "picocli..", "org.yaml..", "me.tongfei..");

    @ArchTest
    static final ArchRule passesKnowNoDevice =
            noClasses()
                    .that()
                    .resideInAnyPackage(
                            "io.llmc.quantize..",
                            "io.llmc.prune..",
                            "io.llmc.distill..",
                            "io.llmc.evaluation..",
                            "io.llmc.solver..",
                            "io.llmc.model..",
                            "io.llmc.pipeline..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAPackage("io.llmc.backend.cpu..");

    @ArchTest
    static final ArchRule formatsKnowNoModels =
            noClasses()
                    .that()
                    .resideInAnyPackage("io.llmc.formats..", "io.llmc.tensor..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAnyPackage(
                            "io.llmc.backend..",
                            "io.llmc.model..",
                            "io.llmc.pipeline..",
                            "io.llmc.tokenizer..");

    @ArchTest
    static final ArchRule devicesKnowNoModels =
            noClasses()
                    .that()
                    .resideInAnyPackage("io.llmc.backend..", "io.llmc.gpu..")
                    .should()
                    .dependOnClassesThat()
                    .resideInAnyPackage("io.llmc.model..", "io.llmc.pipeline..");

    @ArchTest
    static final ArchRule onlyTheCommandLineTalksToTheTerminal =
            noClasses()
                    .that()
                    .resideOutsideOfPackage("io.llmc.cli..")
                    .should(GeneralCodingRules.ACCESS_STANDARD_STREAMS);

    @ArchTest
    static final ArchRule noCycles = slices().matching("io.llmc.(**)").should().beFreeOfCycles();

    private static ArchRule only(String home, String... libraries) {
        return noClasses()
                .that()
                .resideOutsideOfPackage(home)
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(libraries);
    }
}
