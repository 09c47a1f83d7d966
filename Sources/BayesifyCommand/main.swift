print("bayesify")
