@_exported public import BayesEvaluation
@_exported public import BayesFiles
@_exported public import BayesKernels
@_exported public import BayesNetwork
@_exported public import BayesPosterior
@_exported public import BayesPrediction
@_exported public import BayesReport
@_exported public import BayesTensor
